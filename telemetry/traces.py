"""OpenTelemetry traces, exported by OTLP if its standard variables configure it.

A trace leads from the client's `traceparent` through the request, the queue, and each
attempt of the run to its nodes, models and tools. A row keeps the context of its request
(`Carrier`), since messages only wake workers.

The library is loaded by `start`, in programs that serve or execute, and only if it is
configured. All other functions return at once while traces are off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spool.config import lazy
from spool.config.env import env_str

if TYPE_CHECKING:
    from spool.telemetry.otel import Tracing

# What the configured propagators write, such as `traceparent` and `baggage`.
Carrier = Mapping[str, str]
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"

_tracing: Tracing | None = None


@dataclass(frozen=True)
class Past:
    """A span with a known begin and end. Without a `parent`, it begins a trace."""

    name: str
    started_at: datetime
    ended_at: datetime
    parent: Carrier | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    # The id of a span whose children are known before it.
    span_id: int | None = None
    # Why it failed, if it did.
    error: str = ""


def is_configured() -> bool:
    """Whether the environment configures traces with a supported protocol."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if env_str("OTEL_TRACES_EXPORTER", default="otlp") != "otlp":
        return False
    if not env_str(*ENDPOINTS):
        return False
    return env_str(*PROTOCOLS, default=PROTOCOL) == PROTOCOL


def preload() -> None:
    """Import the library, for programs that are forked later."""
    if is_configured():
        lazy.load("spool.telemetry.otel", "Tracing")


def start(program: str) -> None:
    """Begin to export, if that is configured. Called after a fork, before graphs load."""
    global _tracing
    if is_configured():
        _tracing = lazy.load("spool.telemetry.otel", "Tracing")(program)
    elif env_str(*ENDPOINTS) and (other := env_str(*PROTOCOLS, default=PROTOCOL)) != (
        PROTOCOL
    ):
        logger.warning(
            "traces are off: OTEL_EXPORTER_OTLP_PROTOCOL must be %s, not %r",
            PROTOCOL,
            other,
        )


def stop() -> None:
    """Export what is left, within a few seconds. Called at the end of a process."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing:
        tracing.stop()


def is_on() -> bool:
    return _tracing is not None


def tracing() -> Tracing:
    """The tracer of this process, for modules that are loaded only if traces are on."""
    if _tracing is None:
        raise RuntimeError("traces are off")
    return _tracing


def traced(app: App) -> App:
    """`app` with a span for each request; `app` itself if traces are off."""
    return _tracing.traced(app) if _tracing else app


def name_request(method: str | None, route: str) -> None:
    """Name the request's span by its route, in Django's format."""
    if _tracing:
        _tracing.name_request(method, route)


def carrier() -> Carrier | None:
    """The context of the current span, to store or to send; None if there is none."""
    return _tracing.carrier() if _tracing else None


def ids() -> dict[str, str]:
    """The current span's ids, for log lines."""
    return _tracing.ids() if _tracing else {}


def span(
    name: str,
    *,
    parent: Carrier | None = None,
    link: Carrier | None = None,
    is_client: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> AbstractContextManager[None]:
    """Trace a block. Without a `parent`, its span begins a trace, linked to `link`."""
    if _tracing is None:
        return nullcontext()
    return _tracing.span(name, parent, link, attributes or {}, is_client=is_client)


def annotate(attributes: Mapping[str, Any], error: str = "") -> None:
    """Add to the current span: attributes, and why it failed, if it did."""
    if _tracing:
        _tracing.annotate(attributes, error)


def record(past: Past) -> None:
    """Export a span that is over."""
    if _tracing:
        _tracing.record(past)
