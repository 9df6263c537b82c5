from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest

from spool.telemetry import traces
from spool.tests.conftest import CONFIG

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
URL = "http://127.0.0.1:4318"
# The imports of a program before it serves. The client of Redis itself loads parts of
# OpenTelemetry if it is installed, but no exporter.
PROGRAM = """
import sys
import spool.preload
from spool.programs import web
from spool.telemetry import traces

served = web.application()
assert traces.traced(served) is served
ours = ("opentelemetry.exporter", "spool.telemetry.otel", "spool.runs.worker.spans")
print(sorted(name for name in sys.modules if name.startswith(ours)))
"""


def test_nothing_of_it_is_imported_while_it_is_off() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    program = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        env={**environment, "LANGGRAPH_CONFIG": str(CONFIG)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert program.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environment", "configured"),
    [
        ({}, False),
        ({ENDPOINT: URL}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, True),
        ({ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: URL, "OTEL_SDK_DISABLED": "true"}, False),
        ({ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_the_standard_variables_turn_it_on(
    environment: dict[str, str], configured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert traces.is_configured() is configured


def test_an_unsupported_protocol_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, URL)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    traces.start("web")

    assert not traces.is_on()
    assert caplog.messages == [
        "traces are off: OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, not 'grpc'"
    ]


def test_all_is_a_no_op_while_it_is_off() -> None:
    app: Any = object()

    assert traces.traced(app) is app
    assert traces.carrier() is None
    assert traces.ids() == {}
    assert isinstance(traces.span("webhook"), nullcontext)
    traces.annotate({"a": 1}, "an error")
    traces.name_request("GET", "threads")
    traces.stop()
