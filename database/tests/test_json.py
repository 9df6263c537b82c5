"""Any graph state can be written, read, and stored."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import json
import math
import uuid
from collections import UserDict, deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from django.db import connection
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from langchain_core.messages import AIMessage
from pydantic import BaseModel, field_serializer

from spool.database.json import TooDeep, dumps, jsonb, loads

CET = dt.timezone(dt.timedelta(hours=1))


class Colour(enum.Enum):
    RED = "red"


class Name(str, enum.Enum):  # noqa: UP042 - `StrEnum` is written by other rules
    ANN = "ann"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Card:
    title: str
    where: Point | None = None


class Person(BaseModel):
    name: str
    born: dt.date
    colour: Colour = Colour.RED


class OldModel:
    """Has the `dict` method of a Pydantic v1 model."""

    def dict(self) -> dict[str, int]:
        return {"a": 1}


class Array:
    """Has the `tolist` method of numpy's arrays."""

    def tolist(self) -> list[int]:
        return [1, 2]


class Half(float):
    pass


@dataclass
class Hidden:
    shown: int = 1
    _hidden: int = 2


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Colour.RED, "red"),
        (Name.ANN, "ann"),
        (Level.HIGH, 3),
        (Point(1, 2.5), {"x": 1, "y": 2.5}),
        (Card("a", Point(1, 2)), {"title": "a", "where": {"x": 1, "y": 2}}),
        (
            Person(name="Ann", born=dt.date(2000, 1, 2)),
            {"name": "Ann", "born": "2000-01-02", "colour": "red"},
        ),
        (OldModel(), {"a": 1}),
        (Array(), [1, 2]),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Decimal("1.10"), "1.10"),
        (b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        (bytearray(b"ab"), "YWI="),
        (memoryview(b"ab"), "YWI="),
        ({3}, [3]),
        (deque([1, 2]), [1, 2]),
        (UserDict(a=1), {"a": 1}),
        (dt.timedelta(minutes=1), 60.0),
        (dt.time(1, 2, 3), "01:02:03"),
        (ValueError("boom"), {"error": "ValueError", "message": "boom"}),
        (Odd, "Odd"),
        (Odd(), "odd"),
        (math.nan, None),
        (-math.inf, None),
        ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
        ({Colour.RED: 1, Name.ANN: 2}, {"red": 1, "ann": 2}),
        ({dt.date(2000, 1, 2): 1}, {"2000-01-02": 1}),
        ({(1, 2): 1}, {"[1, 2]": 1}),
        (2**70, 2**70),
        (Half(0.5), 0.5),
        (Hidden(), {"shown": 1}),
        (
            dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1))),
            "9999-12-31T23:59:59.999999-01:00",
        ),
    ],
)
def test_types_that_json_does_not_know(value: Any, written: Any) -> None:
    assert json.loads(dumps(value)) == written
    # An integer that is too large for orjson makes the slow path write the document.
    assert json.loads(dumps([value, 2**70])) == [written, 2**70]


class NoText:
    def __str__(self) -> str:
        raise RuntimeError


class NoAttributes:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError


class NoDict:
    def dict(self, key: str) -> None: ...


class NoDump(BaseModel):
    field: int = 1

    @field_serializer("field")
    def refuse(self, value: int) -> int:
        raise ValueError


@pytest.mark.parametrize("kind", [NoText, NoAttributes, NoDict, NoDump])
def test_a_type_whose_own_code_fails_is_named(kind: type) -> None:
    for document in ([kind()], [kind(), 2**70]):
        assert f".{kind.__name__} object at" in json.loads(dumps(document))[0]


def test_a_key_whose_own_code_fails_is_named() -> None:
    (key,) = json.loads(dumps({NoText(): 1}))

    assert ".NoText object at" in key


def test_messages_are_written_as_the_wire_has_them() -> None:
    written = json.loads(dumps(AIMessage("hi", id="1")))

    assert written["content"] == "hi"
    assert written["type"] == "ai"
    assert written["tool_calls"] == []


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (
            dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC),
            "2026-01-02T03:04:05.000006+00:00",
        ),
        (
            dt.datetime(2026, 1, 2, 3, 4, 5, 0, dt.UTC),
            "2026-01-02T03:04:05+00:00",
        ),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 0, CET), "2026-01-02T03:04:05+01:00"),
        (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
    ],
)
def test_datetimes_keep_their_offset(moment: dt.datetime, written: str) -> None:
    assert json.loads(dumps({"at": moment})) == {"at": written}
    assert json.loads(dumps({"at": moment, 1: 1}))["at"] == written


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("a\udfffb", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\\u0000", "\\u0000"),
    ],
)
def test_text_that_postgres_refuses_is_replaced(text: str, cleaned: str) -> None:
    for_postgres = jsonb({"k": text, text: 1}).dumps
    assert for_postgres is not None

    stored = json.loads(for_postgres({"k": text, text: 1}))
    read = loads(json.dumps({"k": text, text: 1}))

    assert stored == read == {"k": cleaned, cleaned: 1}


@pytest.mark.parametrize("depth", [5, 199, 300, 400])
def test_deep_values_are_written(depth: int) -> None:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]

    assert dumps(value) == b"[" * depth + b'"bottom"' + b"]" * depth


def test_a_value_inside_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["me"] = value

    with pytest.raises(TooDeep):
        dumps(value)


@pytest.mark.parametrize(
    "text", ["[" * 201 + "]" * 201, '{"a":' * 201 + "1" + "}" * 201]
)
def test_deep_documents_are_refused(text: str) -> None:
    with pytest.raises(TooDeep):
        loads(text)


def test_a_wide_document_is_not_deep() -> None:
    assert len(loads("[" + ",".join(["[]"] * 1000) + "]")) == 1000


@pytest.mark.parametrize(
    "text", ["", "{", "nan", "NaN", "[1,]", "{'a': 1}", "[1] x", "Infinity"]
)
def test_what_is_not_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the parser's
        loads(text)


texts = st.text(st.characters(codec=None))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
state_scalars = (
    scalars
    | texts
    | st.floats()
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.sampled_from([dt.UTC, CET]) | st.none())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.sampled_from([Colour.RED, Name.ANN, Level.HIGH, Odd(), Odd, ValueError("x")])
    | st.builds(Point, st.integers(), st.floats())
    | st.builds(Card, texts)
    | st.builds(Person, name=st.text(), born=st.dates())
)
keys = texts | st.integers() | st.none() | st.booleans() | st.uuids() | st.dates()
states = st.recursive(
    state_scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(documents)
@example({"a": [1e300, -(2**63), 2**64 - 1, "é", "\\u0000", '"']})
def test_plain_documents_come_back_as_they_were(value: Any) -> None:
    value = loads(json.dumps(value))  # Cleaned, with numbers as JSON reads them.

    assert loads(dumps(value)) == value


@given(states)
def test_writing_never_fails(value: Any) -> None:
    written = json.loads(dumps(value))

    assert json.loads(dumps(written)) == written


@given(states)
@example(-(2**63) - 1)
@example({"\0": ["\\u0000", "\\\0"]})
def test_both_ways_of_writing_agree(value: Any) -> None:
    fast, slow = dumps([value]), dumps([value, {1: 1}])

    # Not `loads`, which converts integers over 64 bits to floats.
    assert json.loads(slow)[:1] == json.loads(fast)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_the_parser_raises_nothing_but_value_errors(raw: bytes) -> None:
    try:
        value = loads(raw)
    except ValueError:
        return
    dumps(value)


class PostgresTakesWhateverGraphsHold(TestCase):
    @given(states)
    def test_round_trip(self, value: Any) -> None:
        with connection.cursor() as cursor:
            parameters: Any = [jsonb({"value": value})]
            cursor.execute("SELECT %s::jsonb", parameters)
            found = json.loads(cursor.fetchone()[0])

        assert _rounded(found) == _rounded({"value": loads(dumps(value))})


def _rounded(value: Any) -> Any:
    """Numbers as floats: Postgres keeps -0.0 and 1e22 as exact decimals."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return value
