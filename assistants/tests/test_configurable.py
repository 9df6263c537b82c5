"""A graph's context, and the keys that clients can't set in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NotRequired

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.assistants.configurable import context_for, of_client


@dataclass
class OfDataclass:
    model: str = "default"
    made: int = field(default=0, init=False)


class OfModel(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str = Field(default="default", alias="theModel")


class OfDict(TypedDict):
    model: NotRequired[str]


class Needy(BaseModel):
    model: str


KEYS = {"model": "m", "theModel": "m", "zzz": 1, "made": 1, "langgraph_auth_user": {}}


@pytest.mark.parametrize(
    "given", [None, {}, {"zzz": 1}, {"langgraph_auth_user": {"identity": "root"}}]
)
@pytest.mark.parametrize(
    ("schema", "context"),
    [
        (OfDataclass, OfDataclass()),
        (OfModel, OfModel()),
        (OfDict, None),
        (Needy, None),
    ],
)
def test_without_a_context_a_schema_gives_its_defaults(
    schema: Any, context: Any, given: Any
) -> None:
    assert context_for(schema, given) == context


@pytest.mark.parametrize(
    ("schema", "context"),
    [
        (OfDataclass, {"model": "m"}),
        (OfModel, {"model": "m", "theModel": "m"}),
        (OfDict, {"model": "m"}),
        (Needy, {"model": "m"}),
        (None, {"model": "m", "theModel": "m", "zzz": 1, "made": 1}),
        (dict, {"model": "m", "theModel": "m", "zzz": 1, "made": 1}),
    ],
)
def test_a_graph_gets_the_keys_of_its_schema_alone(schema: Any, context: Any) -> None:
    assert context_for(schema, KEYS) == context


def test_without_schema_and_context_there_is_none() -> None:
    assert context_for(None, {}) is None


def test_clients_say_neither_who_asks_nor_where_the_state_is() -> None:
    given = {
        "user_id": "u1",
        "thread_id": "other",
        "run_id": "other",
        "langgraph_auth_user": {"identity": "root"},
        "langgraph_auth_anything": 1,
        "__pregel_read": 1,
    }

    assert of_client(given) == {"user_id": "u1"}
