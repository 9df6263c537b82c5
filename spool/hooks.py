"""Fills the hooks: what lower parts of Spool need of higher ones, in one place."""

from __future__ import annotations

from functools import partial

from spool.access.views import authenticated_user
from spool.assistants import hooks as assistants_hooks
from spool.config.hook import Hook
from spool.database.metrics import TableSizes
from spool.runs.metrics import RunsCollector, queue_figures
from spool.runs.services import delete_runs_of
from spool.runs.worker.inputs import config_of_newest_run
from spool.store.metrics import StoreCollector
from spool.telemetry import metrics
from spool.threads import hooks as threads_hooks
from spool.threads.metrics import ThreadsCollector
from spool.threads.services import delete_threads_of_assistant
from spool.web import hooks as web_hooks

# Of these, `/metrics` tells the size.
LARGE_TABLES = (
    "threads",
    "runs",
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
    "store_items",
)


def fill() -> None:
    """Called by every program that serves, executes or changes something."""
    web_hooks.authenticate.fill(authenticated_user)
    assistants_hooks.delete_threads_of.fill(delete_threads_of_assistant)
    threads_hooks.delete_runs_of.fill(delete_runs_of)
    threads_hooks.config_of_newest_run.fill(config_of_newest_run)
    web_hooks.queue_figures.fill(queue_figures)
    metrics.register(
        RunsCollector,
        ThreadsCollector,
        partial(TableSizes, LARGE_TABLES),
        StoreCollector,
    )
    Hook.are_filled = True
