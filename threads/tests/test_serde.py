"""`checkpointer.serde` of langgraph.json."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spool.config.langgraph_json import langgraph_json
from spool.threads.serde import SETTING, Serializer, Unserializable, serializer


class Plain:
    """A value that only pickle can store."""


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Serializer]]:
    def configured(**serde: Any) -> Serializer:
        monkeypatch.setenv("LANGGRAPH_CHECKPOINTER", json.dumps({"serde": serde}))
        langgraph_json.cache_clear()
        serializer.cache_clear()
        return serializer()

    yield configured
    monkeypatch.undo()
    langgraph_json.cache_clear()
    serializer.cache_clear()


def test_nothing_is_pickled_by_default(configure: Callable[..., Serializer]) -> None:
    serde = configure()

    with pytest.raises(Unserializable, match=f"Plain.*{SETTING}"):
        serde.dumps_typed({"deep": [Plain()]})
    with pytest.raises(Unserializable, match=SETTING):
        serde.loads_typed(("pickle", pickle.dumps(1)))


def test_what_needs_pickle_is_pickled_where_that_is_allowed(
    configure: Callable[..., Serializer],
) -> None:
    serde = configure(pickle_fallback=True)

    kind, stored = serde.dumps_typed({"deep": [Plain()]})

    assert kind == "pickle"
    assert isinstance(serde.loads_typed((kind, stored))["deep"][0], Plain)
    assert serde.dumps_typed({"a": 1})[0] == "msgpack"


def test_what_pickle_refuses_says_why(configure: Callable[..., Serializer]) -> None:
    serde = configure(pickle_fallback=True)

    with pytest.raises(Unserializable, match=r"^((?!pickle_fallback).)*$"):
        serde.dumps_typed(lambda: None)


def test_only_listed_classes_are_restored(configure: Callable[..., Serializer]) -> None:
    listed = [["decimal", "Decimal"]]

    serde = configure(allowed_msgpack_modules=listed)

    assert serde._allowed_msgpack_modules == {("decimal", "Decimal")}


@pytest.mark.parametrize(
    ("serde", "problem"),
    [
        ({"pickle_fallback": "yes"}, "must be true or false"),
        ({"allowed_json_modules": "math"}, "must be true, or a list of paths"),
        ({"allowed_json_modules": ["math"]}, "must be a list of strings"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    configure: Callable[..., Serializer], serde: Any, problem: str
) -> None:
    with pytest.raises(SystemExit, match=problem):
        configure(**serde)
