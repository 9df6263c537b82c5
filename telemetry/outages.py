"""Log an outage of Postgres or Redis once, and not by every failed operation.

While a server is away, its libraries and Spool's retries would each log errors with
tracebacks, many times a second. A filter on the log handler replaces these records: a
process logs once that the server is away, then at most once in `REPEAT_SECS` with the
duration and the number of failures, and once when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

REPEAT_SECS = 10.0
# Interval of the probes of a server that is away, in seconds.
PROBE_SECS = 0.5
# How long after an outage errors of tasks that were never awaited are attributed to it.
AFTERMATH_SECS = 30.0
# Loggers of records that may be dropped. Records of graphs and their libraries stay.
LOGGERS = (
    *("spool", "celery", "kombu", "django", "django_celery_beat", "psycopg", "redis"),
    *("uvicorn", "asyncio", "py"),
)
# Logs errors of graphs, which may come from other servers.
OF_GRAPHS = "spool.runs.worker.executor"
# Loggers of libraries that report an outage without an exception.
OUTAGE_LOGGERS = {
    "psycopg.pool": "Postgres",
    "celery.worker.consumer.consumer": "Redis",
    "celery.beat": "Redis",
    "kombu.connection": "Redis",
}


class Outage:
    """Whether a server is unavailable, as this process sees it."""

    def __init__(self, server: str) -> None:
        self.server = server
        # Returns whether the server answers; set by the part that can connect to it.
        self.probe: Callable[[], bool] | None = None
        self._lock = threading.Lock()
        self._since = 0.0
        self._said_at = 0.0
        self._ended_at = -AFTERMATH_SECS
        self._failures = 0

    @property
    def is_on(self) -> bool:
        return self._since > 0

    @property
    def is_recent(self) -> bool:
        """Whether there is an outage, or one has just ended: some tasks fail later."""
        return self.is_on or time.monotonic() - self._ended_at < AFTERMATH_SECS

    def failed(self, reason: object) -> None:
        """Record a failure that was caused by the server's outage."""
        with self._lock:
            now = time.monotonic()
            self._failures += 1
            if not self.is_on:
                self._since = self._said_at = now
                self._start_probing()
                text = f"{self.server} is away: {_first_line(reason)}"
            elif now - self._said_at >= REPEAT_SECS:
                self._said_at = now
                text = (
                    f"{self.server} is away for {now - self._since:.0f} s, "
                    f"{self._failures} attempts failed"
                )
            else:
                return
        logger.warning("%s", text, extra={"is_outage": True})

    def recovered(self) -> None:
        with self._lock:
            if not self.is_on:
                return
            seconds, failures = time.monotonic() - self._since, self._failures
            self._since, self._failures = 0.0, 0
            self._ended_at = time.monotonic()
        logger.warning(
            "%s is back after %.1f s, %d attempts failed",
            self.server,
            seconds,
            failures,
            extra={"is_outage": True},
        )

    def _start_probing(self) -> None:
        name = f"probe {self.server}"
        threading.Thread(target=self._probe, name=name, daemon=True).start()

    def _probe(self) -> None:
        while self.is_on:
            time.sleep(PROBE_SECS)
            if self.probe is None or self.probe():
                self.recovered()


postgres = Outage("Postgres")
redis = Outage("Redis")
_BY_NAME = {outage.server: outage for outage in (postgres, redis)}


class QuietOutages(logging.Filter):
    """Drops records of outages; `Outage` logs them instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or hasattr(record, "is_outage"):
            return True
        outage = _outage_of(record)
        if outage is None:
            return True
        exc = record.exc_info[1] if record.exc_info else None
        if outage.is_on or record.name != "asyncio":
            outage.failed(exc or record.getMessage())
        return False


def _outage_of(record: logging.LogRecord) -> Outage | None:
    if record.name.partition(".")[0] not in LOGGERS:
        return None
    if record.name == OF_GRAPHS and record.levelno >= logging.ERROR:
        return None
    found = [record.exc_info[1]] if record.exc_info else []
    args = record.args if isinstance(record.args, tuple) else ()
    found += [arg for arg in args if isinstance(arg, BaseException)]
    for exc in found:
        for cause in _causes(exc):
            if name := _server_of(cause):
                outage = _BY_NAME[name]
                # asyncio also logs tasks of graphs.
                return outage if record.name != "asyncio" or outage.is_recent else None
    return _reported_by_logger(record) if not found else None


def _reported_by_logger(record: logging.LogRecord) -> Outage | None:
    """The outage of a record without an exception."""
    if server := OUTAGE_LOGGERS.get(record.name):
        return _BY_NAME[server] if "connect" in record.getMessage().lower() else None
    if is_aftermath(record):
        return next((outage for outage in _BY_NAME.values() if outage.is_on), None)
    return None


def is_aftermath(record: logging.LogRecord) -> bool:
    """Whether an outage can cause a record: a 5xx response, or a warning of Celery."""
    if record.name == "django.request":
        return int(getattr(record, "status_code", 0)) >= 500
    return record.name == "py.warnings" and "celery/worker/consumer" in (
        record.getMessage()
    )


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if exc is None:
            return
        yield exc
        exc = exc.__cause__ or exc.__context__


def _server_of(exc: BaseException) -> str | None:
    """The server that an error is from, by class name: telemetry imports no client."""
    for kind in type(exc).__mro__:
        name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        if server := FAULTS.get(name):
            return None if _is_no_outage(exc) else server
    return None


FAULTS = {
    "psycopg.OperationalError": "Postgres",
    "psycopg.InterfaceError": "Postgres",
    "psycopg_pool.PoolTimeout": "Postgres",
    "django.OperationalError": "Postgres",
    "django.InterfaceError": "Postgres",
    "redis.ConnectionError": "Redis",
    "redis.TimeoutError": "Redis",
    "kombu.OperationalError": "Redis",
    "kombu.ConnectionLimitExceeded": "Redis",
}


def _is_no_outage(exc: BaseException) -> bool:
    """Whether Postgres answered: a lock was not available, a statement timed out.

    Codes of a server that shuts down or starts up begin with 57P, or with 08.
    """
    code = getattr(exc, "sqlstate", None) or getattr(exc.__cause__, "sqlstate", None)
    return bool(code) and not str(code).startswith(("57P", "08"))


def _first_line(reason: object) -> str:
    return (str(reason).strip() or type(reason).__name__).splitlines()[0]
