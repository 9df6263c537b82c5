"""Use cases that write runs. Messages and events are sent after the commit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from rest_framework.exceptions import APIException

from spool.access.policy import EVERYTHING, Scope
from spool.assistants.models import Assistant
from spool.assistants.services import mirror_context, resolve_assistant
from spool.database.ids import uuid7
from spool.database.json import jsonb, ordered_json
from spool.runs import lifecycle, priority, queue, record, tasks
from spool.runs.lifecycle import Ended, Outcome
from spool.runs.models import EVENT_STREAMING, Run, RunQuerySet
from spool.runs.priority import ThreadPriority
from spool.runs.streaming import events
from spool.runs.streaming.writer import publish_end
from spool.threads.checkpoint_rows import (
    has_checkpoint,
    needs_all_its_checkpoints,
    undo_run,
)
from spool.threads.models import Thread
from spool.threads.state import show_newest_state
from spool.usage import budgets
from spool.usage.budgets import Payer
from spool.web import request_ids
from spool.web.errors import BadRequest, Conflict, NotFound, Unprocessable
from spool.webhooks import addresses
from spool.webhooks.models import PushConfig

logger = logging.getLogger(__name__)

INTERRUPTING = (Run.MultitaskStrategy.INTERRUPT, Run.MultitaskStrategy.ROLLBACK)
# The keys of a run's `kwargs` that nodes see.
GIVEN = ("input", "command", "config", "context")
# Shown in a run's `kwargs` only where they were given.
SELDOM = ("langsmith_tracer", "strict_resume", EVENT_STREAMING)
CANCELLED = Outcome(Run.Status.INTERRUPTED, settles=False)
NEVER_WAS = Outcome(None, settles=False)


class ThreadBusy(Conflict):
    default_detail = (
        "Thread is already running a task. Wait for it to finish or choose a "
        "different multitask strategy."
    )


class TooManyRuns(APIException):
    status_code = 429


class AssistantChanged(Exception):
    """The assistant has changed since it was read."""


class ThreadNotFound(NotFound):
    default_detail = "Thread or assistant not found."


def create_run(
    *,
    scope: Scope,
    thread_id: UUID | None,
    request: dict[str, Any],
    assistants: Scope | None = None,
    run_id: UUID | None = None,
    first_run_id: UUID | None = None,
    run_class: str = Run.RunClass.BACKGROUND,
) -> Run:
    """Store a pending run, and wake a worker once the run is committed.

    `request` is the validated data of a `RunRequest`. Without a thread the run gets one
    of its own, deleted with it unless `on_completion` is `keep`. `assistants` is the
    caller's scope for assistants, where it differs. `first_run_id` is that of the A2A
    task that the run begins or continues.
    """
    if request["webhook"]:
        addresses.check(request["webhook"])
    if thread_id is None and (request["command"] or {}).get("resume") is not None:
        raise BadRequest("You must provide a thread_id when resuming.")
    _check_thread_of(thread_id, request["checkpoint"] or {})
    ids = {"id": run_id or uuid7(), "first_run_id": first_run_id}
    budgets.check(Payer(scope.identity or scope.owner, scope.api_key_id))
    scopes = scope, assistants or scope
    new = partial(_create_run, *scopes, thread_id, request, ids, run_class)
    try:
        return new(remembered=True)
    except AssistantChanged:
        return new(remembered=False)


def _create_run(
    scope: Scope,
    assistants: Scope,
    thread_id: UUID | None,
    request: dict[str, Any],
    ids: dict[str, UUID | None],
    run_class: str,
    *,
    remembered: bool,
) -> Run:
    """Raise `AssistantChanged`, storing nothing, if a `remembered` one is stale."""
    assistant = resolve_assistant(
        assistants, request["assistant_id"], remembered=remembered
    )
    params = _create_params(scope, assistant, thread_id, request)
    params |= ids
    params["run_class"] = run_class
    decided = priority.of_thread(scope, assistant, thread_id, request)
    params |= queue.place(scope.owner, request["metadata"], run_class, decided)
    params["decided"] = decided
    seen = assistant.updated_at if remembered else None
    with _unit(thread_id, request):
        _check_limit(scope)
        try:
            run = _insert_run(scope, thread_id, params, request, seen)
        except ThreadNotFound:
            if request["if_not_exists"] != "create":
                raise
            # The thread had expired, and a sweep has deleted it since it was found.
            run = _insert_run(scope, thread_id, params, request, seen)
        if run.dispatched_at:
            transaction.on_commit(partial(tasks.dispatch, run.id))
    return run


def _unit(
    thread_id: UUID | None, request: dict[str, Any]
) -> AbstractContextManager[Any]:
    """The transaction that a run is created in."""
    # A single statement that creates the run needs no transaction around it.
    alone = (
        thread_id is not None
        and request["if_not_exists"] != "create"
        and request["multitask_strategy"] not in INTERRUPTING
        and not settings.MAX_RUNS_PER_OWNER
    )
    return nullcontext() if alone else transaction.atomic()


@transaction.atomic
def create_runs(asked: Iterable[dict[str, Any]]) -> list[Run]:
    """Create all runs, given as arguments of `create_run`, or none if one is refused.

    After an error the client would send all of them again.
    """
    return [create_run(**one) for one in asked]


def _insert_run(
    scope: Scope,
    thread_id: UUID | None,
    params: dict[str, Any],
    request: dict[str, Any],
    assistant_updated_at: datetime | None,
) -> Run:
    if thread_id is None or request["if_not_exists"] == "create":
        _make_thread(params, request)
    checks = request["multitask_strategy"] in INTERRUPTING or _asks_for_fork(params)
    if thread_id is not None and (checks or not scope.is_plain):
        visible = Thread.objects.visible_to(scope).filter(pk=params["thread_id"])
        if not visible.exists():
            raise ThreadNotFound
    _check_fork_point(params)
    if request["multitask_strategy"] in INTERRUPTING:
        _make_way(params["thread_id"], request["multitask_strategy"])
    created = lifecycle.create(
        params,
        scope=scope if scope.is_plain and thread_id else EVERYTHING,
        assistant_updated_at=assistant_updated_at,
    )
    if created.run:
        return created.run
    if not created.has_thread:
        raise ThreadNotFound
    raise AssistantChanged if created.is_stale else ThreadBusy


def cancel_run(run: Run, action: str) -> bool:
    """Stop a run: a pending one at once, else through its worker. False: it has ended.

    The end of a running run is published once its worker has confirmed it.
    """
    with transaction.atomic():
        lifecycle.lock_thread(run.thread_id)
        fresh = Run.objects.active().filter(pk=run.pk).first()
        if fresh is None:
            return False
        _stop(fresh, action)
    return True


def cancel_runs(runs: RunQuerySet, action: str) -> int:
    """Stop these runs, the oldest first. Returns how many were stopped."""
    # Leave out their inputs, which may be large: each run is read again under its lock.
    named = runs.only("id", "thread_id").oldest_first()
    return sum(cancel_run(run, action) for run in named)


def requeue_run(run: Run) -> Run | None:
    """Wake a worker for a pending run, or create a run like one that has ended.

    Returns None if it is running, or its thread was deleted with it.
    """
    if run.status == Run.Status.PENDING:
        tasks.dispatch(run.id)
        return run
    if run.is_active or run.is_temporary:
        return None
    again = lifecycle.create(
        {
            "id": uuid7(),
            "thread_id": run.thread_id,
            "assistant_id": run.assistant_id,
            "graph_id": run.graph_id,
            "assistant_metadata": jsonb({}),
            "metadata": jsonb(run.metadata),
            "thread_metadata": jsonb({}),
            "thread_config": jsonb({}),
            **_kwargs_params(run.kwargs),
            "multitask_strategy": Run.MultitaskStrategy.ENQUEUE,
            "is_temporary": False,
            "owner": run.owner,
            "user": None if run.user is None else jsonb(run.user),
            "run_class": run.run_class or Run.RunClass.BACKGROUND,
            "api_key_id": run.api_key_id,
            "after_seconds": 0,
            "first_run_id": run.first_run_id,
            "resumes": False,
            "fairness_group": run.fairness_group,
            "queue_rank": run.queue_rank,
        }
    ).run
    if again and again.dispatched_at:
        transaction.on_commit(partial(tasks.dispatch, again.id))
    return again


def delete_run(run: Run) -> None:
    """Delete a run and its checkpoints; a running one is stopped.

    On a thread with a DeltaChannel the checkpoints of an ended run are kept: later
    states are made from them.
    """
    with transaction.atomic():
        lifecycle.lock_thread(run.thread_id)
        fresh = Run.objects.filter(pk=run.pk).first()
        if fresh is None:
            return
        while (ended := lifecycle.end_here(fresh, NEVER_WAS)) is None:
            # Claimed in between, or handed back. It can't end: its thread is locked
            # here.
            fresh.refresh_from_db()
        record.forget_run(fresh.id)
        if fresh.is_active:
            _undo(fresh)
            transaction.on_commit(
                partial(events.signal_stop, fresh.id, Run.CancelAction.ROLLBACK)
            )
            _announce_end(fresh, ended)
        elif not needs_all_its_checkpoints(fresh.thread_id) and _undo(fresh):
            transaction.on_commit(partial(_show_newest_state, fresh.thread_id))
        transaction.on_commit(partial(events.remove, fresh.thread_id, fresh.id))
        if ended:
            transaction.on_commit(partial(tasks.announce, ended))


def delete_runs_of(thread_ids: Sequence[UUID]) -> None:
    """Delete all runs of threads to be deleted, in the caller's transaction.

    The caller has locked the threads' rows. Running runs are stopped, and their ends
    are published.
    """
    active = Run.objects.active().filter(thread__in=thread_ids)
    for run in active.select_related("thread"):
        rollback = Run.CancelAction.ROLLBACK
        transaction.on_commit(partial(events.signal_stop, run.id, rollback))
        _announce_end(run, None)  # Nothing comes after it.
    # After the ends are published, which must be the last events.
    transaction.on_commit(partial(events.forget, thread_ids))
    Run.objects.filter(thread__in=thread_ids).delete()
    PushConfig.objects.filter(thread_id__in=thread_ids).delete()


def _check_limit(scope: Scope) -> None:
    """Refuse another run of an owner with too many active runs."""
    most = settings.MAX_RUNS_PER_OWNER
    if not most or scope.identity is None:
        return
    with connection.cursor() as cursor:
        # Serialize, so that concurrent requests can't all see room for one more run.
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
        cursor.execute(lock, [f"runs of {scope.identity}"])
    if Run.objects.active().filter(user__identity=scope.identity).count() >= most:
        raise TooManyRuns(f"At most {most} runs at once: wait until one has ended")


def _make_way(thread_id: UUID, strategy: str) -> None:
    """Stop the active runs of a thread, for a new run that does not wait for them."""
    lifecycle.lock_thread(thread_id)
    for run in Run.objects.active().filter(thread_id=thread_id).oldest_first():
        _stop(run, strategy)


def _stop(run: Run, action: str) -> None:
    """Stop a run. The caller holds the thread's lock, so it can't start or end now."""
    rollback = action == Run.CancelAction.ROLLBACK
    # Once a worker has begun a run, only a worker knows the resulting state.
    if run.status == Run.Status.PENDING and (rollback or not run.attempt):
        ended = lifecycle.end_here(run, NEVER_WAS if rollback else CANCELLED)
        if ended:
            _undo(run)
            _announce_end(run, ended)
            transaction.on_commit(partial(tasks.announce, ended))
            return
        run.refresh_from_db()  # A worker has claimed it in between.
    if lifecycle.ask_to_stop(run, action):
        transaction.on_commit(partial(events.signal_stop, run.id, action))


def _undo(run: Run) -> bool:
    """Undo the checkpoints of a run whose row is deleted, so that it can't save more.

    Returns whether the thread's newest state was saved by it.
    """
    if not run.attempt or run.is_temporary:
        return False
    return undo_run(run.thread_id, run.id)


def _show_newest_state(thread_id: UUID) -> None:
    try:
        show_newest_state(thread_id)
    except Exception:
        # The graph may not be served any more, and its factory is user code.
        logger.exception("thread %s: its state can't be shown again", thread_id)


def _announce_end(run: Run, ended: Ended | None) -> None:
    generation = events.generation(run.thread.created_at)
    transaction.on_commit(
        partial(
            publish_end,
            run.thread_id,
            run.id,
            Run.Status.INTERRUPTED,
            generation=generation,
            graph_id=run.graph_id,
            used_seq=ended.event_seq - 1 if ended and ended.event_seq else 0,
        )
    )


def _make_thread(params: dict[str, Any], request: dict[str, Any]) -> None:
    """Create the run's thread with the run's metadata, unless the id exists."""
    metadata = {**request["metadata"], **params["thread_metadata"].obj}
    decided: ThreadPriority | None = params["decided"]
    thread = Thread(
        id=params["thread_id"],
        metadata=metadata,
        priority=decided.priority if decided else None,
        fairness_group=decided.fairness_group if decided else None,
    )
    Thread.objects.bulk_create([thread], ignore_conflicts=True)


def _create_params(
    scope: Scope, assistant: Assistant, thread_id: UUID | None, request: dict[str, Any]
) -> dict[str, Any]:
    """The parameters of `lifecycle.CREATE`."""
    temporary = thread_id is None and request["on_completion"] == "delete"
    config, context = _merged_config(assistant, request)
    named = {"graph_id": assistant.graph_id, "assistant_id": str(assistant.id)}
    metadata = {**(request["config"].get("metadata") or {}), **request["metadata"]}
    return {
        "thread_id": thread_id or uuid7(),
        "assistant_id": assistant.id,
        "graph_id": assistant.graph_id,
        "assistant_metadata": jsonb(assistant.metadata),
        "metadata": jsonb({**named, **metadata}),
        "thread_metadata": jsonb(named),
        "thread_config": jsonb(
            {**assistant.config, **_thread_config(request["config"])}
        ),
        **_kwargs_params(_kwargs(request, config, context, temporary=temporary)),
        "multitask_strategy": request["multitask_strategy"],
        "is_temporary": temporary,
        "owner": scope.owner,
        "user": None if scope.user is None else jsonb(scope.user),
        "api_key_id": scope.api_key_id,
        "after_seconds": request["after_seconds"],
        "resumes": (request["command"] or {}).get("resume") is not None,
    }


def _kwargs_params(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The two columns of a run's `kwargs`. The input of graphs keeps its key order."""
    given = {name: kwargs[name] for name in GIVEN if name in kwargs}
    rest = {name: value for name, value in kwargs.items() if name not in given}
    return {"kwargs": jsonb(rest), "given": ordered_json(given)}


def _kwargs(
    request: dict[str, Any],
    config: dict[str, Any],
    context: dict[str, Any],
    *,
    temporary: bool,
) -> dict[str, Any]:
    """The request as the wire shows it in the run, and as the worker reads it."""
    return {
        "input": request["input"],
        "command": request["command"],
        "config": config,
        "context": context,
        "stream_mode": request["stream_mode"],
        "interrupt_before": request["interrupt_before"],
        "interrupt_after": request["interrupt_after"],
        "webhook": request["webhook"],
        "feedback_keys": request["feedback_keys"],
        "temporary": temporary,
        "subgraphs": request["stream_subgraphs"],
        "resumable": request["stream_resumable"],
        "checkpoint_during": request["durability"] != "exit",
        "durability": request["durability"],
        **{name: request[name] for name in SELDOM if request.get(name)},
        **({"on_disconnect": "cancel"} if request.get("ends_with_client") else {}),
    }


def _merged_config(
    assistant: Assistant, request: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The assistant's config and context under the request's, with its fork point."""
    config, context = mirror_context(request["config"], request["context"])
    base = assistant.config
    configurable = {
        **(base.get("configurable") or {}),
        **(config.get("configurable") or {}),
        **_fork_point(request),
        # Headers of the HTTP request, as configured by the operator, and the policy's.
        **request.get("headers", {}),
    }
    # The real request id, even if the client sends another.
    configurable.pop(request_ids.IN_RUNS, None)
    if request_id := request.get("request_id"):
        configurable[request_ids.IN_RUNS] = request_id
    given = {key: value for key, value in config.items() if value is not None}
    merged = {**base, **given, "configurable": configurable}
    return merged, {**assistant.context, **context}


def _asks_for_fork(params: dict[str, Any]) -> Any:
    """The checkpoint that the run continues from, if it names one."""
    return params["given"].obj["config"]["configurable"].get("checkpoint_id")


def _check_fork_point(params: dict[str, Any]) -> None:
    """Refuse a missing checkpoint: LangGraph would start from an empty state."""
    asked = _asks_for_fork(params)
    if asked and not has_checkpoint(params["thread_id"], str(asked)):
        raise NotFound(f"Checkpoint {asked} not found")


def _check_thread_of(thread_id: UUID | None, checkpoint: dict[str, Any]) -> None:
    """Refuse a checkpoint of another thread: LangGraph would silently ignore it."""
    given = checkpoint.get("thread_id")
    if given and given != str(thread_id):
        raise Unprocessable("checkpoint: it is of another thread than the run")


def _fork_point(request: dict[str, Any]) -> dict[str, Any]:
    checkpoint = request["checkpoint"] or {}
    keys = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    point = {key: checkpoint[key] for key in keys if checkpoint.get(key) is not None}
    if request["checkpoint_id"]:
        point["checkpoint_id"] = str(request["checkpoint_id"])
    return point


def _thread_config(config: dict[str, Any]) -> dict[str, Any]:
    kept = ("tags", "recursion_limit", "metadata")
    return {name: config[name] for name in kept if config.get(name) is not None}
