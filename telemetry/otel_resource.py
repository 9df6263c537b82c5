"""How this process describes itself in what it exports over OTLP."""

from __future__ import annotations

import os
import uuid
from functools import cache
from typing import Any

from django.conf import settings
from opentelemetry.sdk.resources import Resource

# The `service.instance.id` of figures that are the same from every process.
SERVER = "server"


def of_process(program: str) -> Resource:
    """The resource of this process: the same for its traces and its metrics."""
    return _resource(
        _instance_of(os.getpid()),
        {"process.pid": os.getpid(), "spool.program": program},
    )


def of_server() -> Resource:
    return _resource(SERVER, {})


def _resource(instance: str, about: dict[str, Any]) -> Resource:
    named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    name = {} if named or os.environ.get("OTEL_SERVICE_NAME") else {"name": "spool"}
    service = {**name, "version": settings.VERSION, "instance.id": instance}
    return Resource.create({f"service.{k}": v for k, v in service.items()} | about)


@cache
def _instance_of(pid: int) -> str:
    # Cached by process id, since a fork inherits its parent's cache.
    return str(uuid.uuid4())
