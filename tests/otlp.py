"""A receiver of traces: OTLP over HTTP, with the protocol's own messages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spool.tests.live import wait_until


@dataclass(frozen=True)
class Span:
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    # The name of the program, from the span's resource.
    program: str
    pid: int
    service: str
    error: str
    links: tuple[str, ...]


@dataclass
class Receiver:
    url: str
    # The status of its responses.
    status: int = 200
    # While it is clear, the receiver does not answer.
    may_answer: threading.Event = field(default_factory=threading.Event)
    spans: list[Span] = field(default_factory=list)
    # The headers of requests without traces: it receives webhooks, too.
    webhooks: list[dict[str, str]] = field(default_factory=list)

    def of_trace(self, trace_id: str) -> list[Span]:
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def wait_for(self, trace_id: str, *names: str) -> list[Span]:
        """Wait for spans with these names. Return all spans of the trace."""

        def have_arrived() -> bool:
            return set(names) <= {span.name for span in self.of_trace(trace_id)}

        try:
            wait_until(have_arrived)
        except TimeoutError:
            found = sorted(span.name for span in self.of_trace(trace_id))
            raise AssertionError(f"{names} are not all in {found}") from None
        return self.of_trace(trace_id)


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = _Server(("127.0.0.1", 0), _Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}")
    found.may_answer.set()
    server.receiver = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield found
    finally:
        found.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"]))
        receiver.may_answer.wait(60)
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        if self.path == "/webhook":
            receiver.webhooks.append({k.lower(): v for k, v in self.headers.items()})
        elif self.path == "/v1/traces" and receiver.status == 200:
            receiver.spans += spans_of(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(receiver.status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        # The exporter no longer waits for a response that was held back.
        with suppress(ConnectionError):
            self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log out of the output of the tests."""


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        about = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                is_error = span.status.code == span.status.STATUS_CODE_ERROR
                yield Span(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    program=about.get("spool.program", ""),
                    pid=about.get("process.pid", 0),
                    service=about["service.name"],
                    error=span.status.message if is_error else "",
                    links=tuple(link.trace_id.hex() for link in span.links),
                )


def _attributes(given: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in given}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(one) for one in found.values] if kind == "array_value" else found
