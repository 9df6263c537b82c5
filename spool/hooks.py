"""Fills the hooks through which lower parts of Spool call higher ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from spool.access.views import authenticated_user
from spool.assistants import hooks as assistants_hooks
from spool.config import lazy
from spool.config.hook import Hook
from spool.crons.metrics import CronsCollector
from spool.database.metrics import PoolsCollector, TableSizes
from spool.protocols.event_streaming import websockets
from spool.protocols.event_streaming.normalising import normalised_events
from spool.protocols.mcp.signals import publish_change
from spool.runs.metrics import EndedCollector, QueueCollector, queue_figures
from spool.runs.record import forget_threads
from spool.runs.services import delete_runs_of, stop_runs_of_assistant
from spool.runs.streaming.metrics import ViewersCollector
from spool.runs.tasks import dispatch
from spool.runs.worker import hooks as worker_hooks
from spool.runs.worker.inputs import config_of_newest_run
from spool.runs.worker.metrics import WorkerCollector
from spool.store.metrics import StoreCollector
from spool.telemetry import metrics
from spool.threads import hooks as threads_hooks
from spool.threads.metrics import ThreadsCollector
from spool.threads.services import delete_threads_of_assistant
from spool.web import hooks as web_hooks
from spool.web import inside
from spool.web.metrics import ThreadsCollector as WebThreadsCollector
from spool.webhooks import hooks as webhooks_hooks
from spool.webhooks.hooks import Rendered
from spool.webhooks.metrics import WebhooksCollector

# `/metrics` reports the size of these tables.
LARGE_TABLES = (
    "threads",
    "runs",
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
    "store_items",
    "run_attempts",
    "run_steps",
    "usage_totals",
    "webhook_deliveries",
    "cron_firings",
)


def render_notification(push_config_id: UUID, run_id: UUID) -> Rendered | None:
    """The notification for an A2A client. The first call imports A2A's library."""
    render: Callable[[UUID, UUID], Rendered | None] = lazy.load(
        "spool.protocols.a2a.notifications", "render"
    )
    return render(push_config_id, run_id)


def fill() -> None:
    """Fill all hooks. Every program that serves, executes or writes calls this."""
    web_hooks.authenticate.fill(authenticated_user)
    assistants_hooks.delete_threads_of.fill(delete_threads_of_assistant)
    assistants_hooks.deleted.fill(stop_runs_of_assistant)
    assistants_hooks.changed.fill(publish_change)
    threads_hooks.delete_runs_of.fill(delete_runs_of)
    threads_hooks.forget_runs_of.fill(forget_threads)
    threads_hooks.config_of_newest_run.fill(config_of_newest_run)
    webhooks_hooks.render.fill(render_notification)
    web_hooks.queue_figures.fill(queue_figures)
    metrics.register(
        of_server=(
            QueueCollector,
            EndedCollector,
            CronsCollector,
            WebhooksCollector,
            ThreadsCollector,
            StoreCollector,
            partial(TableSizes, LARGE_TABLES),
        ),
        of_process=(
            WebThreadsCollector,
            ViewersCollector,
            WorkerCollector,
            PoolsCollector,
        ),
    )
    web_hooks.serve_websocket.fill(websockets.serve)
    worker_hooks.normalised_events.fill(normalised_events)
    worker_hooks.wake.fill(dispatch)
    inside.install()
    Hook.are_filled = True
