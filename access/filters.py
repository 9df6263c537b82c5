"""The filters that handlers of the official `Auth` contract return, as conditions.

    {"owner": "alice"}                      equal
    {"owner": {"$eq": "alice"}}             the same
    {"members": {"$contains": "alice"}}     a list with this member; or with all of several
    {"$or": [filter, …]}, {"$and": […]}

If there are several keys, all must match. UUIDs, datetimes and enums are compared in
their stored JSON form. Anything else raises an error: an unknown filter must not match
any row.
The conditions are plain lookups with JSON values, since crons store them
(`crons.creator`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from django.db.models import Q

from spool.access.owner import MAX_OWNER_LENGTH
from spool.database.json import plain

MAX_BRANCHES = 100
MAX_DEPTH = 5

Scalar = str | int | float | bool | None
# Types that metadata stores as a string, or as an enum's value.
_WRITTEN = (UUID, date, datetime, Enum)


class BadFilter(Exception):
    """A filter that is not valid."""


def rows_matching(given: Mapping[str, Any], depth: int = 0) -> Q:
    """Convert a filter to a condition on rows. Raises `BadFilter`."""
    rows = Q()
    for key, wanted in given.items():
        if not isinstance(key, str):
            raise BadFilter(f"{key!r} is not a key of metadata")
        if key in ("$or", "$and"):
            rows &= _branches(key, wanted, depth)
        elif key.startswith("$"):
            raise BadFilter(f"unknown operator {key}")
        else:
            rows &= _condition(key, wanted)
    return rows


def pinned(given: Mapping[str, Any]) -> dict[str, Scalar]:
    """The keys that have the same value in all rows of a filter, with these values."""
    found = {}
    for key, wanted in given.items():
        value = wanted.get("$eq") if isinstance(wanted, Mapping) else wanted
        is_equality = not isinstance(wanted, Mapping) or set(wanted) == {"$eq"}
        if is_equality and not key.startswith("$"):
            found[key] = _scalar(key, value)
    return found


def _branches(operator: str, given: Any, depth: int) -> Q:
    if not isinstance(given, (list, tuple)) or depth >= MAX_DEPTH:
        raise BadFilter(
            f"{operator} must be a list of filters, at most {MAX_DEPTH} levels deep"
        )
    if len(given) > MAX_BRANCHES:
        raise BadFilter(f"{operator} must have at most {MAX_BRANCHES} filters")
    parts = []
    for part in given:
        if not isinstance(part, Mapping) or not part:
            raise BadFilter(f"{operator} must have filters, not {part!r}")
        parts.append(rows_matching(part, depth + 1))
    if operator == "$and":
        return Q(*parts)
    # An empty `$or` matches no row; an empty `Q` would match all of them.
    return Q(*parts, _connector=Q.OR) if parts else Q(pk__in=[])


def _condition(key: str, wanted: Any) -> Q:
    if not isinstance(wanted, Mapping):
        return _equal(key, wanted)
    if not wanted:
        raise BadFilter(f"{key}: no operator")
    rows = Q()
    for operator, operand in wanted.items():
        if operator == "$eq":
            rows &= _equal(key, operand)
        elif operator == "$contains":
            rows &= _contains(key, operand)
        else:
            raise BadFilter(f"{key}: unknown operator {operator}")
    return rows


def _equal(key: str, value: Any) -> Q:
    value = _scalar(key, value)
    # The column has the better index. It is "" for rows without an owner, which must
    # not match an owner named "".
    if key == "owner" and isinstance(value, str) and 0 < len(value) <= MAX_OWNER_LENGTH:
        return Q(owner=value)
    return Q(metadata__contains={key: value})


def _contains(key: str, wanted: Any) -> Q:
    is_several = isinstance(wanted, (list, tuple, set, frozenset))
    members = list(wanted) if is_several else [wanted]
    return Q(metadata__contains={key: [_scalar(key, member) for member in members]})


def _scalar(key: str, value: Any) -> Scalar:
    """A value as metadata stores it. Raises `BadFilter` if it is not a scalar."""
    if isinstance(value, _WRITTEN):
        value = plain(value)
    if not isinstance(value, Scalar):
        raise BadFilter(f"{key}: {value!r} can't be compared")
    return value
