"""The statements that store new runs: one alone, and many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from spool.access.scope import EVERYTHING, Scope
from spool.database import prepared
from spool.database.json import from_jsonb, jsonb, ordered_json
from spool.runs.models import Run
from spool.runs.run_request import RunKwargs
from spool.telemetry import traces
from spool.threads.ttl import ttl_params

# The values of a new run and their types. `given` keeps the order of its keys.
TYPES = {
    **dict.fromkeys(("id", "thread_id", "assistant_id"), "uuid"),
    **dict.fromkeys(("graph_id", "multitask_strategy"), "text"),
    "is_temporary": "boolean",
    "owner": "text",
    "user": "jsonb",
    "run_class": "text",
    "api_key_id": "uuid",
    "fairness_group": "text",
    "queue_rank": "smallint",
    "first_run_id": "uuid",
    "resumes": "boolean",
    "after_seconds": "float8",
    **dict.fromkeys(("metadata", "assistant_metadata"), "jsonb"),
    **dict.fromkeys(("thread_metadata", "thread_config"), "jsonb"),
    "given": "json",
    **dict.fromkeys(("kwargs", "trace_context"), "jsonb"),
    "assistant_updated_at": "timestamptz",
    "scope_owner": "text",
    "ttl_strategy": "text",
    "ttl_minutes": "float8",
}

# `thread` reads the row as it is once the lock is held. On a busy thread the run waits
# for its turn, unless the only other runs are due later (`after_seconds`). The
# assistant must be unchanged since it was read. If there are several runs, each must
# have a thread of its own: within one statement, no run sees another one ahead of it.
CREATE = """
WITH {first} thread AS (
    SELECT threads.id, threads.status, threads.metadata FROM threads {also}
    WHERE threads.id = {thread_id} AND threads.discarded_at IS NULL
        AND ({scope_owner} IS NULL OR threads.owner = {scope_owner})
    ORDER BY threads.id
    FOR UPDATE OF threads
), assistant AS (
    SELECT {id} AS run_id FROM assistants {also}
    WHERE assistants.id = {assistant_id}
        AND assistants.updated_at = {assistant_updated_at}
), run AS (
    INSERT INTO runs (
        id, thread_id, assistant_id, graph_id, status, metadata, kwargs, given,
        multitask_strategy, is_temporary, owner, "user", run_class, api_key_id,
        fairness_group, queue_rank,
        attempt, losses, created_at, updated_at, dispatched_at, first_run_id,
        trace_context
    )
    SELECT {id}, thread.id, {assistant_id}, {graph_id}, 'pending',
        {assistant_metadata} || thread.metadata || {metadata}, {kwargs}, {given},
        {multitask_strategy}, {is_temporary}, {owner}, {user}, {run_class},
        {api_key_id}, {fairness_group}, {queue_rank}, 0, 0,
        clock_timestamp() + make_interval(secs => {after_seconds}),
        clock_timestamp(),
        CASE WHEN {after_seconds} <= 0 AND NOT (
            thread.status = 'busy' AND EXISTS (
                SELECT FROM runs ahead WHERE ahead.thread_id = thread.id
                    AND ahead.status IN ('pending', 'running')
                    AND (ahead.status = 'running'
                        OR ahead.created_at <= clock_timestamp())
            )
        ) THEN clock_timestamp() END,
        -- A run that resumes another one goes on with its task.
        coalesce({first_run_id}, CASE WHEN {resumes} THEN (
            SELECT resumed.first_run_id FROM runs resumed
            WHERE resumed.thread_id = thread.id
            ORDER BY resumed.created_at DESC, resumed.id DESC LIMIT 1
        ) END),
        {trace_context}
    FROM thread {also}
    WHERE thread.id = {thread_id}
        AND NOT (thread.status = 'busy' AND {multitask_strategy} = 'reject')
        AND ({assistant_updated_at} IS NULL
            OR EXISTS (SELECT FROM assistant WHERE assistant.run_id = {id}))
    RETURNING id, thread_id, graph_id, fairness_group, metadata, created_at, updated_at,
        dispatched_at, first_run_id
), queued AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT graph_id, fairness_group, min(dispatched_at) FROM run
    WHERE dispatched_at IS NOT NULL
    GROUP BY graph_id, fairness_group ORDER BY graph_id, fairness_group
    ON CONFLICT DO NOTHING
), busy AS (
    UPDATE threads SET status = 'busy', updated_at = clock_timestamp(),
        metadata = threads.metadata || {thread_metadata},
        config = threads.config || {thread_config},
        ttl_strategy = CASE WHEN threads.ttl_minutes IS NULL
            THEN {ttl_strategy} ELSE threads.ttl_strategy END,
        ttl_minutes = coalesce(threads.ttl_minutes, {ttl_minutes}),
        expires_at = clock_timestamp() + make_interval(
            secs => 60 * coalesce(threads.ttl_minutes, {ttl_minutes}))
    FROM run {also} WHERE threads.id = run.thread_id AND run.id = {id}
)
SELECT {id}, EXISTS (SELECT FROM thread WHERE thread.id = {thread_id}),
    EXISTS (SELECT FROM assistant WHERE assistant.run_id = {id}),
    run.metadata::text, run.created_at, run.updated_at, run.dispatched_at,
    run.first_run_id
FROM {always} LEFT JOIN run ON run.id = {id}
"""
CREATE_ONE = CREATE.format(
    first="",
    also="",
    always="(VALUES (1)) AS always",
    **{name: f"%({name})s::{kind}" for name, kind in TYPES.items()},
)
# The runs are passed as rows of JSON: a statement can't have a variable number of
# parameters.
CREATE_MANY = CREATE.format(
    first="wanted AS MATERIALIZED (SELECT * FROM json_to_recordset(%(runs)s::json) AS ("
    + ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
    + ")),",
    also=", wanted",
    always="wanted",
    **{name: f'wanted."{name}"' for name in TYPES},
)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted, and what it changes on its thread."""

    id: UUID
    thread_id: UUID
    assistant_id: UUID
    graph_id: str
    kwargs: RunKwargs
    # The metadata of the run, and of its assistant. Keys of the thread's and the run's
    # own metadata override the assistant's.
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
    # The run answers an interrupt, so it continues the task of the thread's newest run.
    resumes: bool = False
    after_seconds: float = 0
    # Merged into the thread's metadata and config.
    thread_metadata: Mapping[str, Any] = field(default_factory=dict)
    thread_config: Mapping[str, Any] = field(default_factory=dict)


# The fields of a new run that are stored unchanged as columns.
COLUMNS = (
    *("id", "thread_id", "assistant_id", "graph_id", "multitask_strategy"),
    *("is_temporary", "owner", "user", "run_class", "api_key_id"),
    *("fairness_group", "queue_rank"),
)
FIELDS = (
    *COLUMNS,
    *("metadata", "assistant_metadata", "thread_metadata", "thread_config"),
    *("first_run_id", "resumes", "after_seconds"),
)


@dataclass(frozen=True, slots=True)
class Creating:
    """A run to be inserted, and the conditions for it. `scope` must be plain."""

    new: NewRun
    scope: Scope = EVERYTHING
    # Set if the assistant may have changed since it was read.
    assistant_updated_at: datetime | None = None
    trace_context: Mapping[str, str] | None = field(default_factory=traces.carrier)

    @property
    def values(self) -> dict[str, Any]:
        """The value of each of `TYPES`."""
        given, kwargs = self.new.kwargs.as_columns()
        return {
            **{name: getattr(self.new, name) for name in FIELDS},
            **ttl_params(),
            **self.scope.params,
            "given": given,
            "kwargs": kwargs,
            "assistant_updated_at": self.assistant_updated_at,
            "trace_context": self.trace_context,
        }


@dataclass(frozen=True)
class Creation:
    """A new run, or why there is none. If no reason is set, the thread is busy."""

    run: Run | None
    # The assistant has changed since it was read.
    is_stale: bool
    # The thread exists and the caller can see it.
    has_thread: bool


RETURNED = ("created_at", "updated_at", "dispatched_at", "first_run_id")
# The columns with the same value for all new runs; columns of neither kind are null.
NEW = {"status": Run.Status.PENDING, "attempt": 0, "losses": 0}
ALL_COLUMNS = [field.attname for field in Run._meta.concrete_fields]


def create(
    new: NewRun,
    *,
    scope: Scope = EVERYTHING,
    assistant_updated_at: datetime | None = None,
) -> Creation:
    """Insert a pending run under its thread's lock. See `Creating`."""
    creating = Creating(new, scope, assistant_updated_at)
    values = creating.values
    params = {name: _param(kind, values[name]) for name, kind in TYPES.items()}
    [(_, *row)] = prepared.fetch_all(CREATE_ONE, params)
    return _creation(creating, row)


def create_many(creating: Sequence[Creating]) -> list[Creation]:
    """Insert pending runs, each of a different thread, under the threads' locks."""
    if not creating:
        return []
    params = {"runs": ordered_json([one.values for one in creating])}
    rows = prepared.fetch_all(CREATE_MANY, params)
    found = {run_id: row for run_id, *row in rows}
    return [_creation(one, found[one.new.id]) for one in creating]


def _param(kind: str, value: Any) -> Any:
    """The value as a parameter of a statement."""
    if kind == "json":
        return ordered_json(value)
    return jsonb(value) if kind == "jsonb" and value is not None else value


def _creation(creating: Creating, row: list[Any]) -> Creation:
    has_thread, has_assistant, metadata, *found = row
    if metadata is None:
        is_stale = creating.assistant_updated_at is not None and not has_assistant
        return Creation(None, is_stale=is_stale, has_thread=has_thread)
    given, kwargs = creating.new.kwargs.as_columns()
    stored = {
        **{name: getattr(creating.new, name) for name in COLUMNS},
        **NEW,
        "kwargs": {**kwargs, **given},
        "given": given,
        "metadata": from_jsonb(metadata),
        **dict(zip(RETURNED, found, strict=True)),
    }
    # Positional, in the order of the fields: keyword arguments take Django three times
    # as long.
    run = Run.from_db(None, ALL_COLUMNS, [stored.get(name) for name in ALL_COLUMNS])
    return Creation(run, is_stale=False, has_thread=True)
