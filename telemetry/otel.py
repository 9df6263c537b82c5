"""The part of `traces` that needs OpenTelemetry; loaded only if traces are on.

Nothing here waits for the receiver. Spans are queued, and a thread exports them in
batches. Spans are dropped and counted if the queue is full or they can't be delivered.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any

from django.conf import settings
from langgraph_sdk._async.http import HttpClient
from langgraph_sdk._sync.http import SyncHttpClient
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from prometheus_client import Counter

from spool.config.env import env_int
from spool.telemetry import otel_resource
from spool.telemetry.outages import Outage
from spool.telemetry.traces import App, Carrier, Past

# How long a process that ends waits for its last spans to be exported, in seconds.
STOP_TIMEOUT_SECS = 2.0
# The interval of exports, in milliseconds. The library's default is 5 s. A process that
# is killed loses the spans since the last export.
DELAY = "OTEL_BSP_SCHEDULE_DELAY"
QUEUE_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE"
# Without this, most traces would be of probes and scrapes.
UNTRACED = ("/ok", "/live", "/ready", "/metrics")
# The library logs each failed export; `Outage` logs them once.
QUIET = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
# Set by a request's middleware.
REQUEST_ID = b"x-request-id"

_CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")

DROPPED = Counter(
    "spool_spans_dropped", "Spans that were not exported, by reason", ["reason"]
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

# The id of the span that is started next.
_next_id: ContextVar[int | None] = ContextVar("spool_next_span_id", default=None)


class Ids(IdGenerator):
    """Generates random ids, except for spans whose ids are known before they start."""

    def __init__(self, others: IdGenerator) -> None:
        self._others = others

    def generate_span_id(self) -> int:
        return _next_id.get() or self._others.generate_span_id()

    def generate_trace_id(self) -> int:
        return self._others.generate_trace_id()


class Exporter(SpanExporter):
    """The exporter of the library, with failures counted and logged once."""

    def __init__(self, inner: SpanExporter, taken: Callable[[int], None]) -> None:
        self._inner = inner
        # Called with the number of spans that have left the queue.
        self._taken = taken
        self._receiver = Outage("The receiver of traces")
        self._receiver.probe = lambda: False  # Only an export shows that it is back.

    def export(self, spans: SequenceOf[ReadableSpan]) -> SpanExportResult:
        self._taken(len(spans))
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._receiver.recovered()
        else:
            DROPPED.labels("not_delivered").inc(len(spans))
            self._receiver.failed("spans were not accepted, and are dropped")
        return result

    def shutdown(self) -> None:
        self._receiver.recovered()
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


class Batches(BatchSpanProcessor):
    """Drops the newest spans if the queue is full, and counts them."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._max_waiting = env_int(QUEUE_SIZE, default=2048, minimum=1)
        super().__init__(
            Exporter(exporter, self._taken),
            max_queue_size=self._max_waiting,
            schedule_delay_millis=env_int(DELAY, default=1000, minimum=1),
        )

    def on_end(self, span: ReadableSpan) -> None:
        if not (span.context and span.context.trace_flags.sampled):
            return
        with self._lock:
            if self._waiting >= self._max_waiting:
                DROPPED.labels("queue_full").inc()
                return
            self._waiting += 1
        super().on_end(span)

    def _taken(self, count: int) -> None:
        with self._lock:
            self._waiting -= count


class Tracing:
    """The tracer of this process."""

    def __init__(self, program: str) -> None:
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        given = trace.get_tracer_provider()
        # Another provider may be set, by `opentelemetry-instrument` or the operator.
        self._is_ours = not isinstance(given, TracerProvider)
        if isinstance(given, TracerProvider):
            self._provider: Any = given
        else:
            self._provider = TracerProvider(
                resource=otel_resource.of_process(program), shutdown_on_exit=False
            )
            self._provider.add_span_processor(Batches(OTLPSpanExporter()))
            # Spans of graphs and libraries are then in the same traces.
            trace.set_tracer_provider(self._provider)
        self._provider.id_generator = Ids(self._provider.id_generator)
        self.tracer = self._provider.get_tracer("spool", settings.VERSION)
        send_context_to_servers()
        # For servers that don't call `stop`.
        atexit.register(self.stop)

    def stop(self) -> None:
        """Export the last spans, but don't wait for a receiver that is away."""
        atexit.unregister(self.stop)
        end = self._provider.shutdown if self._is_ours else self._provider.force_flush
        ending = threading.Thread(target=end, name="last traces", daemon=True)
        ending.start()
        ending.join(STOP_TIMEOUT_SECS)

    # --- The current span -----------------------------------------------------------
    def carrier(self) -> Carrier | None:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier or None

    def ids(self) -> dict[str, str]:
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(found.trace_id),
            "span_id": trace.format_span_id(found.span_id),
        }

    def annotate(self, attributes: Mapping[str, Any], error: str) -> None:
        current = trace.get_current_span()
        current.set_attributes(dict(attributes))
        if error:
            fail(current, error)

    # --- Spans ----------------------------------------------------------------------
    @contextmanager
    def span(
        self,
        name: str,
        parent: Carrier | None,
        link: Carrier | None,
        attributes: Mapping[str, Any],
        *,
        is_client: bool,
    ) -> Iterator[None]:
        with self.tracer.start_as_current_span(
            name,
            context=context_of(parent),
            kind=SpanKind.CLIENT if is_client else SpanKind.INTERNAL,
            attributes=dict(attributes),
            links=_links(link),
        ):
            yield

    def record(self, past: Past) -> None:
        """Export a span that is over."""
        span = self.begin(
            past.name,
            context_of(past.parent),
            past.attributes,
            span_id=past.span_id,
            started_at=past.started_at,
        )
        if past.error:
            fail(span, past.error)
        span.end(_ns(past.ended_at))

    def begin(
        self,
        name: str,
        parent: Context | None,
        attributes: Mapping[str, Any],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int | None = None,
        started_at: datetime | None = None,
    ) -> Span:
        token = _next_id.set(span_id)
        try:
            span: Span = self.tracer.start_span(
                name,
                context=parent,
                kind=kind,
                attributes=dict(attributes),
                start_time=None if started_at is None else _ns(started_at),
            )
        finally:
            _next_id.reset(token)
        return span

    # --- Requests -------------------------------------------------------------------
    def traced(self, app: App) -> App:
        async def traced_app(scope: Scope, receive: Any, send: Any) -> None:
            path = scope.get("path", "")
            if scope["type"] == "lifespan" or path == "/" or path.endswith(UNTRACED):
                await app(scope, receive, send)
                return
            headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in scope["headers"]
            }
            with self.tracer.start_as_current_span(
                scope.get("method", "WEBSOCKET"),
                context=propagate.extract(headers, Context()),
                kind=SpanKind.SERVER,
                attributes=_about_request(scope, headers),
            ) as span:
                await app(scope, receive, _noting(span, send))

        return traced_app

    def name_request(self, method: str | None, route: str) -> None:
        current = trace.get_current_span()
        template = "/" + _CONVERTER.sub(r"{\1}", route)
        current.set_attribute("http.route", template)
        current.update_name(f"{method} {template}")


def fail(span: Span, error: str) -> None:
    """Mark a span as failed. `error` begins with the type of the error."""
    span.set_attribute("error.type", error.partition(":")[0])
    span.set_status(Status(StatusCode.ERROR, error))


def context_of(carrier: Carrier | None) -> Context:
    """The context that a row or a message carries; an empty one begins a trace."""
    return propagate.extract(carrier or {}, Context())


def _links(carrier: Carrier | None) -> list[Link]:
    if not carrier:
        return []
    linked = trace.get_current_span(context_of(carrier)).get_span_context()
    return [Link(linked)] if linked.is_valid else []


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e9)


def _about_request(scope: Scope, headers: Mapping[str, str]) -> dict[str, Any]:
    about = {
        "url.scheme": scope.get("scheme", ""),
        "url.path": scope["path"],
        "user_agent.original": headers.get("user-agent", ""),
    }
    if method := scope.get("method"):
        about["http.request.method"] = method
    if server := scope.get("server"):
        about |= {"server.address": str(server[0]), "server.port": server[1]}
    return about


def _noting(span: Span, send: Any) -> Callable[[Message], Awaitable[None]]:
    """Wrap `send` to note the response's status and the request's id in the span."""

    async def send_noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set_attribute("http.response.status_code", status)
            for name, value in message.get("headers", ()):
                if name.lower() == REQUEST_ID:
                    span.set_attribute("spool.request.id", value.decode("latin-1"))
            if status >= 500:
                fail(span, str(status))
        await send(message)

    return send_noting


# --- Calls of other servers -----------------------------------------------------------
_sends_context = False


def send_context_to_servers() -> None:
    """Make `langgraph_sdk` clients, such as RemoteGraph's, send the current context."""
    global _sends_context
    if not _sends_context:
        _sends_context = True
        _add_hook(HttpClient, _inject_async)
        _add_hook(SyncHttpClient, _inject)


def _add_hook(client_class: Any, hook: Callable[[Any], Any]) -> None:
    original = client_class.__init__

    @wraps(original)
    def init(self: Any, client: Any) -> None:
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], hook]}
        original(self, client)

    client_class.__init__ = init


def _inject(request: Any) -> None:
    propagate.inject(request.headers)


async def _inject_async(request: Any) -> None:
    _inject(request)
