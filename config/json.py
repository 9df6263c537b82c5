"""JSON as Spool reads and writes it: on the wire, and in Postgres.

Graph state holds whatever its author put there (messages, Pydantic models,
dataclasses, UUIDs, datetimes, enums, bytes), so writing never fails on a type.
Postgres refuses NUL characters and lone surrogates in `jsonb`; both become
U+FFFD, once, on the way in.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
from psycopg.types.json import Jsonb
from pydantic import BaseModel

# Deeper than any real state, and well under what orjson (254) can write.
MAX_DEPTH = 200

REPLACEMENT = "\ufffd"
# An escaped NUL, but not the six characters of an escaped backslash and "u0000".
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class TooDeep(ValueError):
    """A document nested deeper than `MAX_DEPTH`."""


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON of anything; NaN and infinities become `null`."""
    try:
        return orjson.dumps(value, default=plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        # Integers over 64 bits, keys that are no strings, lone surrogates: rare,
        # so only then pay for a walk through the whole value.
        return json.dumps(
            clean(value), default=plain, ensure_ascii=False, separators=(",", ":")
        ).encode()


def loads(text: bytes | str) -> Any:
    """Parse JSON, cleaned for Postgres. Raises `ValueError` for what is not JSON."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # orjson refuses lone surrogates, which models do produce.
        value = json.loads(raw, parse_constant=_refuse_constant)
        return clean(value)
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    return clean(value) if b"\\u0000" in raw else value


def plain(value: Any) -> Any:  # noqa: C901 - one flat table of types
    """What `value` is written as, for types that JSON does not know."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, (tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, str):
        return clean_text(value)
    if callable(getattr(value, "dict", None)):  # Pydantic v1 models.
        return value.dict()
    return str(value)


def clean(value: Any) -> Any:
    """`value` with no text that Postgres refuses, and with string keys."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {_key(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        return [clean(item) for item in value]
    if isinstance(value, (int, float)) or value is None:
        return None if value != value or value in _INFINITE else value
    return clean(orjson.loads(dumps(plain(value))))


def clean_text(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return str(text)
    # Through UTF-16, so that two halves of one character find each other.
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", REPLACEMENT)


def jsonb(value: Any) -> Jsonb:
    """A query parameter for a `jsonb` column."""
    return Jsonb(value, dumps=jsonb_bytes)


def jsonb_bytes(value: Any) -> bytes:
    text = dumps(value)
    if b"\\u0000" in text:
        text = _NUL.sub(rb"\1" + REPLACEMENT.encode(), text)
    return text


_INFINITE = (float("inf"), float("-inf"))


def _key(key: Any) -> str:
    if isinstance(key, str):
        return clean_text(key)
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    return str(key)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for item in level:
            children = item.values() if isinstance(item, dict) else item
            deeper += [child for child in children if isinstance(child, (dict, list))]
        if not deeper:
            return
        level = deeper
    raise TooDeep(f"JSON is nested deeper than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
