"""Authorizes requests for runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from rest_framework.request import Request

from spool.access.policy import authorize
from spool.assistants.services import assistant_id_of
from spool.database.ids import uuid7
from spool.runs.models import Run
from spool.runs.run_request import AllowedRun, RunRequest
from spool.web.http_options import configurable_headers

# The fields of a request that the policy gets as the run's `kwargs`.
KWARGS = (
    *("input", "command", "config", "context", "webhook", "stream_mode"),
    *("interrupt_before", "interrupt_after", "feedback_keys", "checkpoint"),
    *("checkpoint_id", "on_completion", "durability", "stream_subgraphs"),
    "stream_resumable",
)


def allow_run(
    http: Request | HttpRequest,
    request: RunRequest,
    thread_id: UUID | None,
    *,
    run_class: str = Run.RunClass.BACKGROUND,
) -> AllowedRun:
    """Authorize a request. Returns the run to create. Raises 403, for example."""
    run = allow_runs(http, request, thread_id, run_id=uuid7())
    headers = configurable_headers(http)
    request = replace(
        run.request,
        added_configurable={**headers, **run.request.added_configurable},
        request_id=getattr(http, "request_id", None),
    )
    return replace(run, request=request, run_class=run_class)


def allow_runs(
    http: Request | HttpRequest,
    request: RunRequest,
    thread_id: UUID | None,
    *,
    run_id: UUID | None = None,
) -> AllowedRun:
    """Authorize a request for a cron and all of its runs, whose ids are not known yet.

    Leaves out what belongs only to this HTTP request.
    """
    assistant_id = assistant_id_of(request.assistant_id)
    value = _value(request, run_id, thread_id, assistant_id)
    allowed = authorize(http, "threads.create_run", value)
    assistants = authorize(http, "assistants.read", {"assistant_id": assistant_id})
    return AllowedRun(
        request=_changed(request, allowed.value),
        scope=allowed.scope,
        thread_id=thread_id,
        assistants=assistants.scope,
        run_id=run_id or uuid7(),
    )


def _value(
    request: RunRequest,
    run_id: UUID | None,
    thread_id: UUID | None,
    assistant_id: UUID,
) -> dict[str, Any]:
    """The value of the event `threads.create_run`.

    The assistant is given by its id even if the request has a graph's name, so that a
    policy can compare it.
    """
    return {
        "thread_id": thread_id,
        "run_id": run_id,
        "assistant_id": assistant_id,
        "status": Run.Status.PENDING,
        "metadata": request.metadata,
        "prevent_insert_if_inflight": request.multitask_strategy == "reject",
        "multitask_strategy": request.multitask_strategy,
        "if_not_exists": request.if_not_exists,
        "after_seconds": request.after_seconds,
        "kwargs": {name: getattr(request, name) for name in KWARGS},
    }


def _changed(request: RunRequest, value: Mapping[str, Any]) -> RunRequest:
    """The request with the changes of the policy in the value of its event.

    Keys that the policy added to `configurable` are for nodes: they neither conflict
    with the client's `context`, nor become part of it.
    """
    kwargs = {name: value["kwargs"][name] for name in KWARGS if name in value["kwargs"]}
    config = dict(value["kwargs"].get("config") or {})
    known = request.config.get("configurable") or {}
    configurable = config.get("configurable") or {}
    added = {key: item for key, item in configurable.items() if key not in known}
    if added:
        kept = {key: item for key, item in configurable.items() if key in known}
        config["configurable"] = kept
    changes = {**kwargs, "config": config, "metadata": value["metadata"]}
    return replace(request, **changes, added_configurable=added)
