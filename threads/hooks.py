"""Functions of higher layers that threads need; set in `spool/hooks.py`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from spool.config.hook import Hook

# Delete the runs of these threads, and stop the running ones.
delete_runs_of: Hook[[Sequence[UUID]], None] = Hook("threads.delete_runs_of")
# Delete the records of these threads' runs, before the runs are deleted.
forget_runs_of: Hook[[Sequence[UUID]], None] = Hook("threads.forget_runs_of")
# The config of this graph's newest run on a thread; None if there is no such run.
config_of_newest_run: Hook[[UUID, str], RunnableConfig | None] = Hook(
    "threads.config_of_newest_run"
)
