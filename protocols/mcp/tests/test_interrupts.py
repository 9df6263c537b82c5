from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings

from spool.protocols.mcp.interrupts import (
    RequestState,
    StaleState,
    question,
    sign,
    unsign,
)

ID = "0123456789abcdef0123456789abcdef"


def asked(value: Any, response_schema: Any = None) -> Any:
    return question({"id": ID, "value": value, "response_schema": response_schema})


# --- Forms --------------------------------------------------------------------------
def test_a_question_is_one_text() -> None:
    found = asked("Which one?")

    assert found.interrupt_id == ID
    assert found.message == "Which one?"
    assert list(found.schema["properties"]) == ["response"]
    assert found.schema["required"] == ["response"]
    assert found.read({"response": "the first"}) == "the first"


def test_other_values_are_shown_as_json() -> None:
    assert asked({"question": "für wen?"}).message == '{"question": "für wen?"}'


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"type": "accept"}', {"type": "accept"}),
        (' ["a", 1]', ["a", 1]),
        ("{not json", "{not json"),
        ("true", "true"),
        ("12", "12"),
        ("", ""),
        (None, None),
    ],
)
def test_objects_and_lists_may_be_written_as_json(text: Any, answer: Any) -> None:
    assert asked("?").read({"response": text}) == answer


def test_a_flat_schema_is_the_form() -> None:
    schema = {
        "type": "object",
        "properties": {
            "approve": {"type": "boolean"},
            "why": {"type": "string", "maxLength": 80},
        },
        "required": ["approve"],
    }

    found = asked("?", schema)

    assert found.schema == schema
    assert found.read({"approve": True, "why": "fine"}) == {
        "approve": True,
        "why": "fine",
    }


def test_a_plain_schema_is_one_field() -> None:
    found = asked("?", {"type": "integer", "minimum": 1})

    assert found.schema["properties"]["response"] == {"type": "integer", "minimum": 1}
    assert found.read({"response": 3}) == 3


CHOICES = [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "enum": ["a", "b"], "default": "a"},
        {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]},
        {"type": "string", "oneOf": CHOICES},
        {"type": "array", "items": {"type": "string", "enum": ["a"]}, "maxItems": 2},
        {"type": "array", "items": {"anyOf": CHOICES}},
        {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
    ],
)
def test_choices_are_fields(field: Any) -> None:
    schema = {"type": "object", "properties": {"pick": field}}

    assert asked("?", schema).schema["properties"] == {"pick": field}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "array", "items": {}}}},
        {"type": "object", "properties": {"a": {"type": "string", "oneOf": [{}]}}},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
        {"type": "object"},
        {"oneOf": [{"type": "string"}]},
        "no schema",
    ],
)
def test_what_is_more_than_a_form_is_asked_as_text(schema: Any) -> None:
    assert list(asked("?", schema).schema["properties"]) == ["response"]
    assert asked("?", schema).schema["properties"]["response"]["type"] == "string"


REVIEW = {
    "action_requests": [
        {"name": "send", "args": {"to": "bob"}},
        {"name": "delete", "args": {}},
    ],
    "review_configs": [
        {"action_name": "send", "allowed_decisions": ["approve", "edit", "reject"]},
        {"action_name": "delete", "allowed_decisions": ["approve"]},
    ],
}


def test_actions_are_decided_on_one_by_one() -> None:
    found = asked(REVIEW)

    fields = found.schema["properties"]
    assert list(fields) == ["decision_0", "message_0", "decision_1"]
    assert fields["decision_0"]["enum"] == ["approve", "reject"]
    assert found.schema["required"] == ["decision_0", "decision_1"]
    answer = found.read(
        {"decision_0": "reject", "message_0": "not to bob", "decision_1": "approve"}
    )
    assert answer == {
        "decisions": [
            {"type": "reject", "message": "not to bob"},
            {"type": "approve"},
        ]
    }


@pytest.mark.parametrize(
    "value",
    [
        {"action_requests": [], "review_configs": []},
        {"action_requests": [{"name": "send"}], "review_configs": []},
        {
            "action_requests": [{"name": "send"}],
            "review_configs": [{"action_name": "send", "allowed_decisions": ["edit"]}],
        },
        {"action_requests": 5, "review_configs": [{}]},
    ],
)
def test_actions_that_no_form_fits_are_asked_about_as_text(value: Any) -> None:
    assert list(asked(value).schema["properties"]) == ["response"]


# --- States ---------------------------------------------------------------------------
STATE = RequestState(uuid4(), uuid4(), (ID, "f" * 32))


def test_a_state_comes_back_as_it_was() -> None:
    assert unsign(sign(STATE)) == STATE


@pytest.mark.parametrize("text", ["", "x", "a:b:c", "eyJ4Ijox:1abc:sig"])
def test_no_other_state_is_taken(text: str) -> None:
    with pytest.raises(StaleState):
        unsign(text)


def test_a_state_lives_as_long_as_its_thread(settings: LazySettings) -> None:
    text = sign(STATE)
    settings.MCP_INTERRUPT_TTL_MINUTES = -1

    with pytest.raises(StaleState):
        unsign(text)


def test_a_state_survives_a_new_key(settings: LazySettings) -> None:
    text = sign(STATE)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key than before"

    assert unsign(text) == STATE
