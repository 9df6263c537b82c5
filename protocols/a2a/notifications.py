"""The body of a push notification: the task in the state in which a run left it."""

from __future__ import annotations

from uuid import UUID

from a2a.compat.v0_3.conversions import to_compat_task
from a2a.types.a2a_pb2 import StreamResponse
from a2a.utils.errors import TaskNotFoundError
from google.protobuf.json_format import MessageToDict

from spool.database.json import dumps
from spool.protocols.a2a.pushes import Secrets
from spool.protocols.a2a.tasks import TaskRef, build_task, edges_for, task_after
from spool.webhooks.hooks import Rendered
from spool.webhooks.models import PushConfig


def render(push_config_id: UUID, run_id: UUID) -> Rendered | None:
    """See `spool.webhooks.hooks.render`. Raises `secrets.Unreadable`."""
    config = PushConfig.objects.filter(pk=push_config_id).first()
    if config is None:
        return None
    try:
        left = task_after(TaskRef(config.thread_id, config.first_run_id), run_id)
    except TaskNotFoundError:
        return None
    task = build_task(left, edges_for(left))
    if config.protocol == PushConfig.Protocol.V0_3:
        shown = to_compat_task(task)
        body = shown.model_dump_json(by_alias=True, exclude_none=True).encode()
    else:
        body = dumps(MessageToDict(StreamResponse(task=task)))
    return Rendered(body, Secrets.of(config).headers)
