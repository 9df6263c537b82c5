"""Applies the policy to a request for a run, and prepares it for `create_run`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from rest_framework.request import Request

from spool.access.policy import authorize
from spool.assistants.services import assistant_id_of
from spool.database.ids import uuid7
from spool.runs.serializers import added_by_policy, create_run_value
from spool.web.http_options import configurable_headers


def allowed(
    request: Request | HttpRequest, asked: dict[str, Any], thread_id: UUID | None
) -> dict[str, Any]:
    """Return the arguments of `create_run`, if the policy allows this run.

    `asked` is the validated data of a `RunRequest`.
    """
    run_id = uuid7()
    given = dict(asked["config"].get("configurable") or {})
    assistant = {"assistant_id": assistant_id_of(asked["assistant_id"])}
    value = create_run_value(asked, thread_id=thread_id, run_id=run_id, **assistant)
    scope = authorize(request, "threads.create_run", value)
    config, added = added_by_policy(value["kwargs"].get("config"), given)
    return {
        "scope": scope,
        "assistants": authorize(request, "assistants.read", assistant),
        "thread_id": thread_id,
        "request": {
            **asked,
            "config": config,
            "metadata": value["metadata"],
            "headers": configurable_headers(request.headers) | added,
            "request_id": getattr(request, "request_id", None),
        },
        "run_id": run_id,
    }
