"""What threads need of parts above them; filled in `spool/hooks.py`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from spool.config.hook import Hook

# Delete the runs of these threads, and stop those that are executed.
delete_runs_of: Hook[[Sequence[UUID]], None] = Hook("threads.delete_runs_of")
# Delete what is recorded of these threads' runs, before those are deleted.
forget_runs_of: Hook[[Sequence[UUID]], None] = Hook("threads.forget_runs_of")
# The config of a thread's newest run of this graph; None where there is no such run.
config_of_newest_run: Hook[[UUID, str], RunnableConfig | None] = Hook(
    "threads.config_of_newest_run"
)
