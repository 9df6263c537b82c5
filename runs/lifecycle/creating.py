"""The statement that stores a new run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from spool.access.scope import EVERYTHING, OWNED, Scope
from spool.database import prepared
from spool.database.json import from_jsonb, jsonb, ordered_json
from spool.runs.models import Run
from spool.runs.run_request import RunKwargs
from spool.telemetry import traces
from spool.threads.ttl import ttl_params

# `thread` reads the row as it is once the lock is held. On a busy thread the run waits
# for its turn, unless the only other runs are due later (`after_seconds`). The
# assistant must be unchanged since it was read.
CREATE = f"""
WITH assistant AS (
    SELECT FROM assistants
    WHERE id = %(assistant_id)s AND updated_at = %(assistant_updated_at)s::timestamptz
), thread AS (
    SELECT id, status, metadata FROM threads
    WHERE id = %(thread_id)s AND discarded_at IS NULL AND {OWNED}
    FOR UPDATE
), run AS (
    INSERT INTO runs (
        id, thread_id, assistant_id, graph_id, status, metadata, kwargs, given,
        multitask_strategy, is_temporary, owner, "user", run_class, api_key_id,
        fairness_group, queue_rank,
        attempt, losses, created_at, updated_at, dispatched_at, first_run_id,
        trace_context
    )
    SELECT %(id)s, thread.id, %(assistant_id)s, %(graph_id)s, 'pending',
        %(assistant_metadata)s || thread.metadata || %(metadata)s, %(kwargs)s,
        %(given)s::json,
        %(multitask_strategy)s::text, %(is_temporary)s, %(owner)s, %(user)s::jsonb,
        %(run_class)s, %(api_key_id)s::uuid, %(fairness_group)s, %(queue_rank)s, 0, 0,
        clock_timestamp() + make_interval(secs => %(after_seconds)s::float8),
        clock_timestamp(),
        CASE WHEN %(after_seconds)s::float8 <= 0 AND NOT (
            thread.status = 'busy' AND EXISTS (
                SELECT FROM runs ahead WHERE ahead.thread_id = thread.id
                    AND ahead.status IN ('pending', 'running')
                    AND (ahead.status = 'running'
                        OR ahead.created_at <= clock_timestamp())
            )
        ) THEN clock_timestamp() END,
        -- A run that resumes another one goes on with its task.
        coalesce(%(first_run_id)s::uuid, CASE WHEN %(resumes)s THEN (
            SELECT resumed.first_run_id FROM runs resumed
            WHERE resumed.thread_id = thread.id
            ORDER BY resumed.created_at DESC, resumed.id DESC LIMIT 1
        ) END),
        %(trace_context)s::jsonb
    FROM thread
    WHERE NOT (thread.status = 'busy' AND %(multitask_strategy)s::text = 'reject')
        AND (%(assistant_updated_at)s::timestamptz IS NULL
            OR EXISTS (SELECT FROM assistant))
    RETURNING thread_id, graph_id, fairness_group, metadata, created_at, updated_at,
        dispatched_at, first_run_id
), queued AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT graph_id, fairness_group, dispatched_at FROM run
    WHERE dispatched_at IS NOT NULL
    ON CONFLICT DO NOTHING
), busy AS (
    UPDATE threads SET status = 'busy', updated_at = clock_timestamp(),
        metadata = threads.metadata || %(thread_metadata)s,
        config = threads.config || %(thread_config)s,
        ttl_strategy = CASE WHEN threads.ttl_minutes IS NULL
            THEN %(ttl_strategy)s ELSE threads.ttl_strategy END,
        ttl_minutes = coalesce(threads.ttl_minutes, %(ttl_minutes)s::float8),
        expires_at = clock_timestamp() + make_interval(
            secs => 60 * coalesce(threads.ttl_minutes, %(ttl_minutes)s::float8))
    FROM run WHERE threads.id = run.thread_id
)
SELECT EXISTS (SELECT FROM thread), EXISTS (SELECT FROM assistant),
    run.metadata::text, run.created_at, run.updated_at, run.dispatched_at,
    run.first_run_id
FROM (VALUES (1)) AS always LEFT JOIN run ON true
"""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted, and what it changes on its thread."""

    id: UUID
    thread_id: UUID
    assistant_id: UUID
    graph_id: str
    kwargs: RunKwargs
    # The metadata of the run, and of its assistant, which the thread's and the run's
    # own overrule.
    metadata: Mapping[str, Any]
    fairness_group: str
    queue_rank: int
    assistant_metadata: Mapping[str, Any] = field(default_factory=dict)
    multitask_strategy: str = Run.MultitaskStrategy.ENQUEUE
    is_temporary: bool = False
    owner: str = ""
    user: Mapping[str, Any] | None = None
    run_class: str = Run.RunClass.BACKGROUND
    api_key_id: UUID | None = None
    first_run_id: UUID | None = None
    # It answers an interrupt, so it continues the task of the thread's newest run.
    resumes: bool = False
    after_seconds: float = 0
    # Merged into the thread's metadata and config.
    thread_metadata: Mapping[str, Any] = field(default_factory=dict)
    thread_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of `CREATE` that are not the same for all runs."""
        return {
            **{name: getattr(self, name) for name in SCALARS},
            **{name: jsonb(getattr(self, name)) for name in DOCUMENTS},
            "user": None if self.user is None else jsonb(self.user),
        }


# The fields of a new run that are stored unchanged as columns.
COLUMNS = (
    *("id", "thread_id", "assistant_id", "graph_id", "multitask_strategy"),
    *("is_temporary", "owner", "user", "run_class", "api_key_id"),
    *("fairness_group", "queue_rank"),
)
DOCUMENTS = ("metadata", "assistant_metadata", "thread_metadata", "thread_config")
SCALARS = (
    *(name for name in COLUMNS if name != "user"),
    *("first_run_id", "resumes", "after_seconds"),
)


@dataclass(frozen=True)
class Creation:
    """A new run, or why there is none. Without another reason the thread is busy."""

    run: Run | None
    # The assistant has changed since it was read.
    is_stale: bool
    # The thread exists and the caller can see it.
    has_thread: bool


RETURNED = ("created_at", "updated_at", "dispatched_at", "first_run_id")


def create(
    new: NewRun,
    *,
    scope: Scope = EVERYTHING,
    assistant_updated_at: datetime | None = None,
) -> Creation:
    """Insert a pending run under its thread's lock. `scope` is a plain one.

    Pass `assistant_updated_at` where the assistant may have changed since it was read.
    """
    given, kwargs = new.kwargs.as_columns()
    params = new.params | ttl_params() | scope.params
    params |= {"given": ordered_json(given), "kwargs": jsonb(kwargs)}
    params["assistant_updated_at"] = assistant_updated_at
    trace_context = traces.carrier()
    params["trace_context"] = None if trace_context is None else jsonb(trace_context)
    [row] = prepared.fetch_all(CREATE, params)
    has_thread, has_assistant, metadata, *found = row
    if metadata is None:
        is_stale = assistant_updated_at is not None and not has_assistant
        return Creation(None, is_stale=is_stale, has_thread=has_thread)
    run = Run(
        **{name: getattr(new, name) for name in COLUMNS},
        kwargs={**kwargs, **given},
        given=given,
        metadata=from_jsonb(metadata),
        **dict(zip(RETURNED, found, strict=True)),
    )
    run._state.adding = False
    return Creation(run, is_stale=False, has_thread=True)
