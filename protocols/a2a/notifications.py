"""What a push notification says: the task in the state in which a run left it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from a2a.compat.v0_3.conversions import to_compat_task
from a2a.types.a2a_pb2 import StreamResponse, Task
from django.db.models import Q
from google.protobuf.json_format import MessageToDict

from spool.access.scope import Scope
from spool.database.json import dumps
from spool.protocols.a2a.pushes import Secrets
from spool.protocols.a2a.tasks import (
    TaskRuns,
    build_task,
    edges_of,
    end_state,
    task_of,
)
from spool.runs.models import Run
from spool.webhooks.hooks import Rendered
from spool.webhooks.models import PushConfig


def render(push_config_id: UUID, run_id: UUID) -> Rendered | None:
    """See `spool.webhooks.hooks.render`. Raises `secrets.Unreadable`."""
    config = PushConfig.objects.filter(pk=push_config_id).first()
    if config is None:
        return None
    runs = _runs_until(config, run_id)
    if not runs:
        return None
    task = _built(_as_left(task_of(runs)))
    if config.protocol == PushConfig.Protocol.V0_3:
        shown = to_compat_task(task)
        body = shown.model_dump_json(by_alias=True, exclude_none=True).encode()
    else:
        body = dumps(MessageToDict(StreamResponse(task=task)))
    return Rendered(body, Secrets.of(config).headers)


def _runs_until(config: PushConfig, run_id: UUID) -> list[Run]:
    """The task's runs until that one; none where it is not there any more."""
    first = config.first_run_id
    named = Q(pk=first) | Q(first_run_id=first)
    runs = Run.objects.filter(named, thread=config.thread_id).select_related("thread")
    found = list(runs.oldest_first())
    ids = [run.pk for run in found]
    return found[: ids.index(run_id) + 1] if run_id in ids else []


def _as_left(task: TaskRuns) -> TaskRuns:
    """The task as it was then, also if it has been answered since."""
    if task.is_latest or task.newest.status != Run.Status.SUCCESS:
        return task
    return replace(task, waited=bool(end_state(task, task.newest).interrupts))


def _built(task: TaskRuns) -> Task:
    run = task.newest
    return build_task(task, edges_of(run.assistant_id, Scope(run.owner, user=run.user)))
