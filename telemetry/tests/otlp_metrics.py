"""A receiver of metrics: OTLP over HTTP, with the protocol's own messages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)


@dataclass(frozen=True)
class Point:
    """A data point: a number, or the counts of a histogram's buckets."""

    name: str
    # `sum`, `gauge` or `histogram`.
    kind: str
    attributes: dict[str, str]
    # The id of the process's instance, or `server`.
    instance: str
    service: str
    value: float | tuple[int, ...]


@dataclass
class Receiver:
    url: str
    status: int = 200
    points: list[Point] = field(default_factory=list)
    requests: int = 0

    def named(self, name: str) -> list[Point]:
        return [point for point in list(self.points) if point.name == name]


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    found = Receiver(f"http://127.0.0.1:{server.server_port}")
    server.receiver = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/metrics":
            receiver.requests += 1
            if receiver.status == 200:
                request = ExportMetricsServiceRequest.FromString(body)
                receiver.points += _points_of(request)
        self.send_response(receiver.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log out of the output of the tests."""


def _points_of(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for of_resource in request.resource_metrics:
        about = _strings(of_resource.resource.attributes)
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                kind = str(metric.WhichOneof("data"))
                for point in getattr(metric, kind).data_points:
                    value: Any = (
                        tuple(point.bucket_counts)
                        if kind == "histogram"
                        else getattr(point, point.WhichOneof("value"))
                    )
                    yield Point(
                        name=metric.name,
                        kind=kind,
                        attributes=_strings(point.attributes),
                        instance=about["service.instance.id"],
                        service=about["service.name"],
                        value=value,
                    )


def _strings(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}
