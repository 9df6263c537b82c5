"""List the tasks of an agent in pages, the last updated task first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, Task, TaskState
from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE
from a2a.utils.errors import InvalidParamsError
from a2a.utils.task import (
    ListTasksCursor,
    decode_list_tasks_cursor,
    encode_list_tasks_cursor,
    validate_history_length,
    validate_page_size,
)
from django.db.models import Exists, OuterRef, Q

from spool.access.policy import Scope, authorize
from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.tasks import (
    TaskRuns,
    bare_task,
    begun_after,
    build_task,
    edges_of,
    is_later,
    of_agent,
)
from spool.runs.models import Run, RunQuerySet
from spool.threads.models import Thread

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WAITS = Q(
    status=Run.Status.SUCCESS,
    thread__resting_status=Thread.Status.INTERRUPTED,
    is_overtaken=False,
)
# State -> which newest runs have it. Tasks are never in any other state.
IN_STATE = {
    TaskState.TASK_STATE_SUBMITTED: Q(status=Run.Status.PENDING, attempt=0),
    TaskState.TASK_STATE_WORKING: Q(status__in=Run.ACTIVE)
    & ~Q(status=Run.Status.PENDING, attempt=0),
    TaskState.TASK_STATE_INPUT_REQUIRED: WAITS,
    TaskState.TASK_STATE_COMPLETED: Q(status=Run.Status.SUCCESS) & ~WAITS,
    TaskState.TASK_STATE_FAILED: Q(status__in=[Run.Status.ERROR, Run.Status.TIMEOUT]),
    TaskState.TASK_STATE_CANCELED: Q(status=Run.Status.INTERRUPTED),
}


@dataclass(frozen=True)
class Page:
    """The newest run of each task on the page, and the token of the next page."""

    newest: Sequence[Run]
    total: int
    next_token: str


def list_tasks(call: Call, params: ListTasksRequest) -> ListTasksResponse:
    """The tasks that the caller may see, with the requested fields of each."""
    validate_history_length(params)
    size = DEFAULT_LIST_TASKS_PAGE_SIZE
    if params.HasField("page_size"):
        validate_page_size(params.page_size)
        size = params.page_size
    scope = _scope(call, params)
    tasks = _filtered(_newest_runs(of_agent(scope, call.assistant_id)), params)
    page = _page(tasks, params.page_token, size)
    return ListTasksResponse(
        tasks=_built(call, scope, page.newest, params),
        next_page_token=page.next_token,
        page_size=size,
        total_size=page.total,
    )


def _scope(call: Call, params: ListTasksRequest) -> Scope:
    """Authorize like `GET /threads/{id}/runs` if a context is given, else a search."""
    context_id = _context_id(params)
    if context_id:
        authorize(call.request, "threads.read", {"thread_id": context_id})
    value: dict[str, Any] = {"thread_id": context_id, "metadata": {}}
    return authorize(call.request, "threads.search", value).scope


def _context_id(params: ListTasksRequest) -> UUID | None:
    try:
        return UUID(params.context_id) if params.context_id else None
    except ValueError:
        raise InvalidParamsError("contextId must be a UUID") from None


def _newest_runs(runs: RunQuerySet) -> RunQuerySet:
    """The newest run of each task, which has the task's state."""
    same_task = Run.objects.filter(
        thread=OuterRef("thread"), first_run_id=OuterRef("first_run_id")
    )
    later = same_task.filter(is_later(OuterRef("created_at"), OuterRef("id")))
    begun = begun_after(OuterRef("thread"), OuterRef("created_at"), OuterRef("id"))
    newest = runs.filter(~Exists(later), first_run_id__isnull=False)
    return newest.annotate(is_overtaken=Exists(begun))


def _filtered(runs: RunQuerySet, params: ListTasksRequest) -> RunQuerySet:
    if context_id := _context_id(params):
        runs = runs.filter(thread=context_id)
    if params.status:
        wanted = IN_STATE.get(params.status)
        runs = runs.filter(wanted) if wanted is not None else runs.none()
    if params.HasField("status_timestamp_after"):
        since = params.status_timestamp_after.ToDatetime(tzinfo=UTC)
        runs = runs.filter(updated_at__gte=since)
    return runs


def _page(runs: RunQuerySet, token: str, size: int) -> Page:
    total = runs.count()
    if token:
        cursor = _cursor(token)
        at = EPOCH + timedelta(microseconds=(cursor.timestamp_ns or 0) // 1000)
        runs = runs.filter(
            Q(updated_at__lt=at) | Q(updated_at=at, id__lt=UUID(cursor.task_id))
        )
    found = list(runs.order_by("-updated_at", "-id")[: size + 1])
    newest = found[:size]
    if len(found) <= size:
        return Page(newest, total, "")
    microseconds = (newest[-1].updated_at - EPOCH) // timedelta(microseconds=1)
    last = ListTasksCursor(microseconds * 1000, str(newest[-1].id))
    return Page(newest, total, encode_list_tasks_cursor(last))


def _cursor(token: str) -> ListTasksCursor:
    cursor = decode_list_tasks_cursor(token)
    try:
        UUID(cursor.task_id if cursor else "")
    except ValueError:
        raise InvalidParamsError("pageToken is not valid") from None
    assert cursor  # noqa: S101 - for mypy: an empty id is no UUID
    return cursor


def _built(
    call: Call,
    scope: Scope,
    newest: Sequence[Run],
    params: ListTasksRequest,
) -> list[Task]:
    """The tasks of these newest runs, in the same order."""
    if not params.include_artifacts and not params.history_length:
        return [bare_task(_task(run, [run])) for run in newest]
    edges = edges_of(call.assistant_id, scope)
    firsts = {run.first_run_id for run in newest}
    earlier = of_agent(scope, call.assistant_id).filter(first_run_id__in=firsts)
    by_task: dict[UUID | None, list[Run]] = {}
    for run in earlier.exclude(pk__in=[run.pk for run in newest]).oldest_first():
        by_task.setdefault(run.first_run_id, []).append(run)
    return [
        build_task(
            _task(run, [*by_task.get(run.first_run_id, []), run]),
            edges,
            history_length=params.history_length,
            with_artifacts=params.include_artifacts,
        )
        for run in newest
    ]


def _task(newest: Any, runs: Sequence[Run]) -> TaskRuns:
    return TaskRuns(newest.thread, runs, is_latest=not newest.is_overtaken)
