"""Limit the number and depth of a body's values before it is parsed.

A small body can have millions of values, each of which becomes a Python object: 25 MB
of `{},{},…` would take 2 GB and half a minute.
"""

from __future__ import annotations

import re

from django.conf import settings
from rest_framework import exceptions

from spool.database.json import dumps
from spool.web.errors import Unprocessable

# The characters of JSON that determine the number and depth of its values.
_KEPT = b'"[]{},'
_OTHERS = bytes(set(range(256)) - set(_KEPT))
_STRINGS = re.compile(rb'"[^"]*"')


class TooManyValues(exceptions.APIException):
    status_code = 413


def check_json(body: bytes) -> None:
    """Refuse JSON with too many values, or values that are nested too deep.

    Invalid JSON passes: it is refused when it is parsed.
    """
    max_values: int = settings.REQUEST_MAX_VALUES
    max_depth: int = settings.REQUEST_MAX_DEPTH
    # A first check without parsing strings, which may contain these characters.
    containers = body.count(b"[") + body.count(b"{")
    if containers <= max_depth and containers + body.count(b",") < max_values:
        return
    marks = _marks(body)
    containers = marks.count(b"[") + marks.count(b"{")
    if containers + marks.count(b",") >= max_values:
        raise TooManyValues(
            f"The body has more than {max_values} values (REQUEST_MAX_VALUES)"
        )
    if containers > max_depth and _depth(marks) > max_depth:
        raise Unprocessable(
            f"the JSON is nested deeper than {max_depth} levels (REQUEST_MAX_DEPTH)"
        )


def check_metadata(value: object, *, name: str = "") -> None:
    """Refuse metadata that would make every list of its rows slow."""
    max_bytes: int = settings.METADATA_MAX_BYTES
    if len(dumps(value)) > max_bytes:
        raise exceptions.ValidationError(
            f"{name}must have at most {max_bytes} bytes as JSON (METADATA_MAX_BYTES)"
        )


def check_merged_metadata(merged: object, *, before: object) -> None:
    """Refuse a change by which a row's metadata would grow beyond the limit."""
    max_bytes: int = settings.METADATA_MAX_BYTES
    size = len(dumps(merged))
    if size > max_bytes and size > len(dumps(before)):
        raise Unprocessable(
            f"metadata: with the row's own, it would have more than {max_bytes} bytes "
            "as JSON (METADATA_MAX_BYTES)"
        )


def _marks(body: bytes) -> bytes:
    """The brackets and commas of JSON, without those in its strings."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return _STRINGS.sub(b"", body.translate(None, _OTHERS))


def _depth(marks: bytes) -> int:
    depth = deepest = 0
    for mark in marks:
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest
