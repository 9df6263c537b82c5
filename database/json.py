"""Read and write JSON, for the wire and for Postgres.

Graph state may hold any type (messages, Pydantic models, dataclasses, UUIDs,
datetimes, enums, bytes), so writing never fails on a type. Postgres refuses NUL
characters and lone surrogates in `jsonb`; both are replaced by U+FFFD, once, on input.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Any

import orjson
from psycopg.types.json import Json, Jsonb
from pydantic import BaseModel

# Deeper than any real state is, and well below orjson's limit (254).
MAX_DEPTH = 200

REPLACEMENT = "\ufffd"
NO_TEXT = "An internal error occurred"
# An escaped NUL, but not the six characters of an escaped backslash and "u0000".
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class TooDeep(ValueError):
    """A document nested deeper than `MAX_DEPTH`."""


class Unstorable(ValueError):
    """JSON that Postgres can't store unchanged."""


def dumps(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """Write any value as compact UTF-8 JSON, without text that Postgres refuses.

    NaN and infinities become `null`, NUL characters and lone surrogates U+FFFD.
    `default` converts types that JSON does not have; it defaults to `plain`.
    Raises `TooDeep` for a value that contains itself.
    """
    try:
        text = orjson.dumps(value, default=default or plain, option=_OPTIONS)
        if b"\\u0000" in text:
            text = _NUL.sub(rb"\1" + REPLACEMENT.encode(), text)
        return text
    except TypeError:
        pass
    # orjson refuses integers over 64 bits, keys that are not strings, lone surrogates
    # and deep values. These are rare, so the value is cleaned only then.
    try:
        return json.dumps(
            clean(value), ensure_ascii=False, separators=(",", ":")
        ).encode()
    except RecursionError:
        raise TooDeep("the value is nested too deep to be written as JSON") from None


def loads(text: bytes | str) -> Any:
    """Parse JSON, and clean it for Postgres. Raises `ValueError` for invalid JSON."""
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    value, is_clean = _parsed(raw)
    return value if is_clean else clean(value)


def loads_exact(raw: bytes) -> Any:
    """Parse a client's JSON, which must be stored unchanged or refused.

    Raises `Unstorable` for numbers out of the range of a double, NUL characters and
    lone surrogates, and `ValueError` for invalid JSON.
    """
    value, is_clean = _parsed(raw)
    if not is_clean:
        _check_storable(value)
    return value


def _parsed(raw: bytes) -> tuple[Any, bool]:
    """The value, and whether Postgres is certain to accept it."""
    try:
        value = orjson.loads(raw)
        is_clean = b"\\u0000" not in raw
    except orjson.JSONDecodeError:
        # orjson refuses lone surrogates, which language models produce.
        value = json.loads(raw, parse_constant=_refuse_constant)
        is_clean = False
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    return value, is_clean


def _check_storable(value: Any) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_storable(key)
            _check_storable(item)
    elif isinstance(value, list):
        for item in value:
            _check_storable(item)
    elif isinstance(value, float) and value in _INFINITE:
        raise Unstorable("a number is too large to be stored")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Unstorable("text with a NUL character can't be stored")
    if clean_text(text) != text:
        raise Unstorable("text with half of a surrogate pair can't be stored")


def plain(value: Any) -> Any:
    """A JSON value for a type that JSON does not have."""
    try:
        return _plain(value)
    except Exception:
        # Code of the value's class failed, but the state must remain readable.
        return object.__repr__(value)


def _plain(value: Any) -> Any:
    for kinds, write in _WRITERS:
        if isinstance(value, kinds):
            return write(value)
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        # As orjson does, which writes most dataclasses itself.
        return {n: getattr(value, n) for n in names if not n.startswith("_")}
    for method in ("_asdict", "tolist", "dict"):  # Named tuples, numpy, Pydantic v1.
        if callable(getattr(value, method, None)):
            return getattr(value, method)()
    return list(value) if isinstance(value, tuple) else str(value)


def moment(value: datetime | None) -> str | None:
    """A time set by the server, for the wire: in UTC, always with microseconds.

    Times in graph state keep their offset, and have microseconds only if not zero.
    """
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def text_of(exc: BaseException) -> str:
    """An exception's text, or a default if it has none or its `str` fails."""
    with suppress(Exception):
        if text := str(exc):
            return text
    return NO_TEXT


def clean(value: Any) -> Any:
    """`value` without text that Postgres refuses, and with string keys."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {_key(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        return [clean(item) for item in value]
    if isinstance(value, orjson.Fragment):
        return clean(from_jsonb(orjson.dumps(value)))
    if isinstance(value, (int, float)) or value is None:
        return None if value != value or value in _INFINITE else value
    return clean(plain(value))


def clean_text(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return str.__str__(text)  # `str()` of an enum would be its name.
    # Through UTF-16, which joins the two surrogates of a character.
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", REPLACEMENT)


def jsonb(value: Any) -> Jsonb:
    """A query parameter for a `jsonb` column."""
    return Jsonb(value, dumps=dumps)


def ordered_json(value: Any) -> Json:
    """A query parameter for a `json` column, which keeps the order of keys."""
    return Json(value, dumps=dumps)


def from_jsonb(text: str | bytes) -> Any:
    """Parse Postgres's text of a `jsonb`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # An integer out of the range of a double, which Postgres stores exactly.
        return json.loads(text)


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATETIME
_INFINITE = (float("inf"), float("-inf"))
_WRITERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (BaseModel, lambda model: model.model_dump(warnings=False)),
    (Enum, lambda member: member.value),
    ((date, time), lambda moment: moment.isoformat()),
    ((set, frozenset, deque), list),
    ((bytes, bytearray), lambda data: base64.b64encode(data).decode()),
    (memoryview, lambda view: base64.b64encode(view.tobytes()).decode()),
    (float, float),
    (timedelta, lambda delta: delta.total_seconds()),
    (
        BaseException,
        lambda exc: {"error": type(exc).__name__, "message": text_of(exc)},
    ),
    (Mapping, dict),
    (type, lambda kind: kind.__name__),
    (str, clean_text),
)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return clean_text(key)
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    written = plain(key)
    return _key(written) if isinstance(written, str) else str(written)


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
