from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from spool.access.filters import BadFilter, pinned, rows_matching
from spool.access.scope import Scope
from spool.crons.creator import Creator
from spool.threads.models import Thread

ROWS: dict[str, dict[str, Any]] = {
    "a": {"owner": "alice", "team": "red", "members": ["alice", "bob"], "level": 1},
    "b": {"owner": "bob", "team": "red", "members": ["bob"], "level": True},
    "c": {"owner": "carol", "team": ["red"], "members": "bob", "level": "1"},
    "d": {"team": None, "my__key": "x", "nested": {"team": "red"}},
}


@pytest.fixture
def _rows(db: None) -> None:
    for name, metadata in ROWS.items():
        Thread.objects.create(metadata={**metadata, "name": name})


def names(given: dict[str, Any]) -> str:
    """The names of matching rows, which still match after a cron stored the filter."""
    rows = rows_matching(given)
    found = Thread.objects.filter(rows).order_by("metadata__name")
    kept = Creator(Scope(rows=rows, user=None), Scope())
    restored = Creator.from_json(json.loads(json.dumps(kept.as_json()))).threads.rows
    again = Thread.objects.filter(restored).order_by("metadata__name")
    assert list(again) == list(found)
    return "".join(thread.metadata["name"] for thread in found)


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "abcd"),
        ({"owner": "alice"}, "a"),
        ({"owner": {"$eq": "alice"}}, "a"),
        ({"owner": "ali%"}, ""),
        ({"owner": "_____"}, ""),
        ({"owner": ""}, ""),  # "No owner" is not an owner named "".
        ({"owner": None}, ""),
        ({"team": "red"}, "ab"),
        ({"team": None}, "d"),
        ({"level": 1}, "a"),
        ({"level": "1"}, "c"),
        ({"level": True}, "b"),
        ({"my__key": "x"}, "d"),
        ({"nested__team": "red"}, ""),
        ({"members": {"$contains": "bob"}}, "ab"),
        ({"members": {"$contains": ["bob"]}}, "ab"),
        ({"members": {"$contains": ["bob", "alice"]}}, "a"),
        ({"members": {"$contains": "carol"}}, ""),
        ({"team": "red", "owner": "bob"}, "b"),
        ({"team": {"$eq": "red", "$contains": "red"}}, ""),
        ({"$or": [{"owner": "alice"}, {"owner": "carol"}]}, "ac"),
        ({"$or": []}, ""),
        ({"$and": [{"team": "red"}, {"members": {"$contains": "alice"}}]}, "a"),
        ({"team": "red", "$or": [{"owner": "alice"}, {"owner": "carol"}]}, "a"),
        (
            {"$or": [{"$and": [{"team": "red"}, {"owner": "bob"}]}, {"level": "1"}]},
            "bc",
        ),
    ],
)
def test_which_rows_match(given: dict[str, Any], expected: str) -> None:
    assert names(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"owner": {"$ne": "alice"}},
        {"owner": {"$eq": "alice", "$unknown": 1}},
        {"owner": {"$in": ["alice"]}},
        {"owner": {"name": "alice"}},
        {"owner": {}},
        {"owner": ["alice"]},
        {"owner": {"$eq": {"a": 1}}},
        {"members": {"$contains": [["a"]]}},
        {"members": {"$contains": {"a": 1}}},
        {"$not": {"owner": "alice"}},
        {"$or": {"owner": "alice"}},
        {"$or": ["alice"]},
        {"$or": [{}]},
        {"$or": [{"owner": "a"}] * 101},
        {"$and": [{"$and": [{"$and": [{"$and": [{"$and": [{"$and": []}]}]}]}]}]},
        {1: "alice"},
        {"owner": object()},
    ],
)
def test_what_is_not_understood_is_refused(given: Any) -> None:
    with pytest.raises(BadFilter):
        rows_matching(given)


class Color(Enum):
    RED = "red"


SOME_ID = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
SOME_TIME = datetime(2024, 7, 1, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.django_db
@pytest.mark.parametrize("value", [SOME_ID, SOME_TIME, SOME_TIME.date(), Color.RED])
@pytest.mark.parametrize(
    "filter_of",
    [
        lambda value: {"kept": value},
        lambda value: {"kept": {"$eq": value}},
        lambda value: {"list": {"$contains": value}},
        lambda value: {"list": {"$contains": {value, "other"}}},
        lambda value: {"$or": [{"kept": value}, {"kept": "none"}]},
    ],
)
def test_values_compare_as_the_json_that_they_are_kept_as(
    value: Any, filter_of: Any
) -> None:
    metadata = {"kept": value, "list": [value, "other"], "name": "a"}
    Thread.objects.create(metadata=metadata)
    Thread.objects.create(metadata={"kept": "b", "list": ["b", "other"], "name": "b"})

    assert names(filter_of(value)) == "a"
    pins = pinned({"kept": value})
    assert Thread.objects.filter(metadata__contains=pins).count() == 1


def test_what_a_filter_pins() -> None:
    given = {
        "owner": "alice",
        "team": {"$eq": "red"},
        "members": {"$contains": "alice"},
        "$or": [{"a": 1}],
    }

    assert pinned(given) == {"owner": "alice", "team": "red"}
