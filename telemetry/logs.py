"""Logging with the request or run of each line, and without secrets.

A record is one line of text, or one JSON object (`LOG_JSON=true`).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson

from spool.config.env import env_bool
from spool.telemetry import traces

# Fields of all lines of one request or run, each of which has a separate context.
_bound: ContextVar[dict[str, str]] = ContextVar("spool_log_fields")

HIDDEN = "***"
# Each has words, one of which any match contains in lower case, and the pattern, which
# is far slower.
SECRETS = (
    (("spool_",), re.compile(r"(spool_)[\w-]{20,}")),
    (
        ("sk-", "sk_", "pk-", "pk_", "lsv2", "ghp", "xox"),
        re.compile(r"(\b(?:sk|pk|lsv2|ghp|xox[abp])[-_])[\w-]{16,}"),
    ),
    (
        ("bearer", "basic"),
        re.compile(r"(\b(?:bearer|basic)\s+)[^\s'\",;]{6,}", re.IGNORECASE),
    ),
    (
        ("x-api-key",),
        re.compile(
            r"(\bx-api-key['\"]?\s*[:=,]\s*b?['\"]?)[^\s'\",;}]{6,}", re.IGNORECASE
        ),
    ),
    (
        ("key=", "token=", "secret=", "password="),
        re.compile(
            r"([?&][\w-]*(?:key|token|secret|password)=)[^&\s'\"]+", re.IGNORECASE
        ),
    ),
    # A token by itself, and the password in a URL.
    # Each matches only at the start of a word, or long lines take quadratic time.
    (("eyj",), re.compile(r"((?<![\w-])eyJ)[\w-]+\.[\w-]+\.[\w-]*")),
    (
        ("://",),
        re.compile(r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+(?=@)"),
    ),
)


def begin(**fields: object) -> None:
    """Begin a request or a run: replace all earlier fields."""
    _bound.set({})
    bind(**fields)


def bind(**fields: object) -> None:
    """Add these fields to all further lines of this request or run."""
    named = {key: str(value) for key, value in fields.items() if value}
    _bound.set({**bound(), **named})


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Log the lines of this block with these fields instead of the earlier ones."""
    before = _bound.set({})
    bind(**fields)
    try:
        yield
    finally:
        _bound.reset(before)


def bound() -> dict[str, str]:
    return _bound.get({})


def is_json() -> bool:
    return env_bool("LOG_JSON", default=False)


def begin_early() -> None:
    """Log as JSON before Django has configured logging, if it will be JSON."""
    if not is_json():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JSON())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _log_uncaught(
    kind: type[BaseException], exc: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger("spool").critical("%s", exc, exc_info=(kind, exc, trace))


def complain(text: str) -> None:
    """Write one line to stderr, in the format of the log."""
    if is_json():
        record = logging.LogRecord("spool", logging.ERROR, "", 0, text, (), None)
        text = JSON().format(record)
    # Write it without a log handler, since signal handlers call this, too.
    os.write(2, f"{text}\n".encode(errors="replace"))


def adopt(*names: str) -> None:
    """Remove the handlers of these loggers, so that they use Spool's format."""
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def without_secrets(text: str) -> str:
    # Patterns that ignore case also match some letters that are not ASCII.
    lower = text.lower() if text.isascii() else None
    for hints, pattern in SECRETS:
        if lower is None or any(map(lower.__contains__, hints)):
            text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


class Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        found = {**bound(), **traces.ids()}
        fields = "".join(f" {key}={value}" for key, value in found.items())
        return super().formatMessage(record) + fields

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **bound(),
            **traces.ids(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        clean = {key: without_secrets(value) for key, value in line.items()}
        # A message may contain lone surrogates, which UTF-8 can't encode.
        return orjson.dumps(
            {k: v.encode("utf-8", "replace").decode() for k, v in clean.items()}
        ).decode()
