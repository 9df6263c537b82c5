"""OpenTelemetry metrics, exported by OTLP if its standard variables configure it.

The library is loaded by `start`, in programs that serve or execute, and only if it is
configured.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from spool.config import lazy
from spool.config.env import env_str

if TYPE_CHECKING:
    from spool.telemetry.otel_metrics import Exporting

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"

_exporting: Exporting | None = None


def is_wanted() -> bool:
    """Whether the environment asks for metrics."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if env_str("OTEL_METRICS_EXPORTER", default="otlp") != "otlp":
        return False
    return bool(env_str(*ENDPOINTS))


def start(program: str, claim_server: Callable[[timedelta], bool]) -> None:
    """Begin to export, if that is configured. Called after a fork.

    `claim_server` returns whether this process has to export the figures of the server:
    it does if no other process has done so for the given time.
    """
    global _exporting
    if not is_wanted():
        return
    protocol = env_str(*PROTOCOLS, default=PROTOCOL)
    if protocol != PROTOCOL:
        logger.warning(
            "metrics are not exported: OTEL_EXPORTER_OTLP_PROTOCOL must be %s, not %r",
            PROTOCOL,
            protocol,
        )
        return
    new = lazy.load("spool.telemetry.otel_metrics", "Exporting")
    _exporting = new(program, claim_server)


def stop() -> None:
    """Export what is left, within a few seconds. Called at the end of a process."""
    global _exporting
    exporting, _exporting = _exporting, None
    if exporting:
        exporting.stop()
