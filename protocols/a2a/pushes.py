"""Push notification configurations, which tell the outbox where to send task states."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from a2a.types.a2a_pb2 import (
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    SendMessageConfiguration,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError
from django.db import transaction
from django.db.models import QuerySet

from spool.access.policy import authorize
from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.tasks import TaskRef, find_task, of_agent
from spool.runs import lifecycle
from spool.webhooks import addresses, secrets
from spool.webhooks.models import PushConfig

MAX_CONFIGS_PER_TASK = 20
MAX_CHARACTERS = 4096
FIELD = "task_push_notification_config"


@dataclass(frozen=True)
class Secrets:
    """Credentials that are sent with notifications, for receivers to verify them."""

    token: str = ""
    scheme: str = ""
    credentials: str = ""

    @classmethod
    def of(cls, config: PushConfig) -> Secrets:
        """The secrets of a stored configuration. Raises `secrets.Unreadable`."""
        return cls(**json.loads(secrets.decrypt(config.secrets)))

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.token:
            headers["x-a2a-notification-token"] = self.token
        if self.scheme and self.credentials:
            headers["authorization"] = f"{self.scheme} {self.credentials}"
        return headers


def create(
    call: Call, params: TaskPushNotificationConfig
) -> TaskPushNotificationConfig:
    """Store a configuration. Replaces the task's configuration of the same id."""
    ref = _task(call, params.task_id, "threads.update")
    _check(params)
    with transaction.atomic():
        if not lifecycle.lock_thread(ref.thread_id):
            raise TaskNotFoundError
        stored = _store(call, ref, params)
    return _wire(stored)


def get(
    call: Call, params: GetTaskPushNotificationConfigRequest
) -> TaskPushNotificationConfig:
    ref = _task(call, params.task_id, "threads.read")
    found = _of_task(ref).filter(config_id=params.id).first()
    if found is None:
        raise TaskNotFoundError(f"task {ref} has no push configuration {params.id!r}")
    return _wire(found)


def list_all(
    call: Call, params: ListTaskPushNotificationConfigsRequest
) -> ListTaskPushNotificationConfigsResponse:
    ref = _task(call, params.task_id, "threads.read")
    found = _of_task(ref).order_by("created_at", "id")
    return ListTaskPushNotificationConfigsResponse(configs=map(_wire, found))


def delete(call: Call, params: DeleteTaskPushNotificationConfigRequest) -> None:
    ref = _task(call, params.task_id, "threads.update")
    _of_task(ref).filter(config_id=params.id).delete()


# --- With a message --------------------------------------------------------------------
def check_config(wanted: SendMessageConfiguration) -> None:
    """Refuse an invalid one before the transaction, since a DNS lookup can be slow."""
    if wanted.HasField(FIELD):
        _check(wanted.task_push_notification_config)


def store_config(call: Call, ref: TaskRef, wanted: SendMessageConfiguration) -> None:
    """Store a message's configuration in its run's transaction, before the run ends."""
    if wanted.HasField(FIELD):
        _store(call, ref, wanted.task_push_notification_config)


def _task(call: Call, task_id: str, event: str) -> TaskRef:
    """The task whose configurations are requested, if the caller may access them."""
    ref = TaskRef.parse(task_id)
    value = {"thread_id": ref.thread_id, "run_id": ref.first_run_id, "metadata": {}}
    scope = authorize(call.request, event, value).scope
    return find_task(
        of_agent(scope, call.assistant_id).defer("kwargs", "given"), ref
    ).ref


def _of_task(ref: TaskRef) -> QuerySet[PushConfig]:
    return PushConfig.objects.filter(
        thread_id=ref.thread_id, first_run_id=ref.first_run_id
    )


def _check(params: TaskPushNotificationConfig) -> None:
    """Raises for a forbidden address, and for text that isn't allowed in a header."""
    addresses.check(params.url)
    addresses.check_hosts([params.url])
    authentication = params.authentication
    given = (params.token, authentication.scheme, authentication.credentials)
    if any(not text.isascii() or not (text + " ").isprintable() for text in given):
        raise InvalidParamsError("token and authentication must be printable ASCII")
    if any(len(text) > MAX_CHARACTERS for text in (*given, params.id)):
        raise InvalidParamsError(f"longer than {MAX_CHARACTERS} characters")


def _store(call: Call, ref: TaskRef, params: TaskPushNotificationConfig) -> PushConfig:
    config_id = params.id or str(ref)
    others = _of_task(ref).exclude(config_id=config_id)
    if others.count() >= MAX_CONFIGS_PER_TASK:
        raise InvalidParamsError(
            f"a task has at most {MAX_CONFIGS_PER_TASK} push configurations"
        )
    authentication = params.authentication
    kept = Secrets(params.token, authentication.scheme, authentication.credentials)
    values: dict[str, Any] = {
        "thread_id": ref.thread_id,
        "url": params.url,
        "protocol": call.protocol,
        "secrets": secrets.encrypt(json.dumps(asdict(kept))),
    }
    stored, _ = PushConfig.objects.update_or_create(
        first_run_id=ref.first_run_id, config_id=config_id, defaults=values
    )
    return stored


def _wire(config: PushConfig) -> TaskPushNotificationConfig:
    kept = Secrets.of(config)
    found = TaskPushNotificationConfig(
        id=config.config_id,
        task_id=str(TaskRef(config.thread_id, config.first_run_id)),
        url=config.url,
        token=kept.token,
    )
    if kept.scheme:
        found.authentication.scheme = kept.scheme
        found.authentication.credentials = kept.credentials
    return found
