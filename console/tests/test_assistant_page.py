"""The page of an assistant, and the form for its settings."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pydantic import BaseModel, Field

from spool.access.policy import EVERYTHING
from spool.assistants.assistant_request import AssistantChanges, NewAssistant
from spool.assistants.models import Assistant
from spool.assistants.services import create_assistant, update_assistant
from spool.console.schema_forms import fields_of, values_of

pytestmark = pytest.mark.django_db


class Tone(BaseModel):
    formal: bool = True


class Settings(BaseModel):
    model: str = Field("small", description="Which one answers.")
    temperature: float = 0.3
    max_steps: int | None = Field(None, ge=1)
    stream: bool = False
    prompt: str = "You are a helpful assistant.\nAnswer briefly."
    tone: Tone = Tone()


@pytest.fixture
def mine() -> Assistant:
    new = NewAssistant(graph_id="echo", name="Mine", context={"model": "small"})
    return create_assistant(EVERYTHING, new)


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:assistants_assistant_{name}", args=args)


def test_fields_fit_their_types() -> None:
    schema = Settings.model_json_schema()
    fields = fields_of(schema, {"temperature": 0.7})

    kinds = {name: type(field).__name__ for name, field in fields.items()}
    assert kinds == {
        "setting_model": "CharField",
        "setting_temperature": "FloatField",
        "setting_max_steps": "IntegerField",
        "setting_stream": "TypedChoiceField",
        "setting_prompt": "CharField",
        "setting_tone": "AnyJSON",
    }
    assert fields["setting_model"].help_text == 'Which one answers. Default: "small"'
    assert fields["setting_temperature"].initial == 0.7
    assert "<textarea" in fields["setting_prompt"].widget.render("prompt", "")
    assert fields["setting_tone"].prepare_value(None) == ""
    assert fields["setting_stream"].clean("False") is False


def test_an_empty_field_removes_its_setting() -> None:
    cleaned = {"setting_a": None, "setting_b": "", "setting_c": False, "reason": "x"}

    assert values_of(cleaned, {"a": 1, "b": 2, "other": 3}) == {"c": False, "other": 3}


def test_settings_are_changed_as_a_new_version(
    admin_client: Client, mine: Assistant
) -> None:
    path = url("operation", mine.pk, "configure")
    form = {
        "based_on": 1,
        "name": "Ours",
        "context": '{"model": "large"}',
        "recursion_limit": "50",
        "tags": "a, b",
    }

    assert 'value="1"' in admin_client.get(path).content.decode()
    admin_client.post(path, form)
    again = admin_client.post(path, form).content.decode()

    mine.refresh_from_db()
    assert (mine.name, mine.version) == ("Ours", 2)
    assert mine.context == {"model": "large"}
    assert mine.config == {
        "configurable": {"model": "large"},
        "recursion_limit": 50,
        "tags": ["a", "b"],
    }
    # The second form was filled from a version that is no longer current.
    assert "was changed meanwhile" in again


def test_versions_are_compared_setting_by_setting(
    admin_client: Client, mine: Assistant
) -> None:
    changes = AssistantChanges(context={"model": "large", "words": 100})
    update_assistant(Assistant.objects.all(), mine.pk, changes)

    page = admin_client.get(url("change", mine.pk))

    newest, oldest = page.context["versions"]
    assert [line for _, line in newest.lines] == [
        '- context.model: "small"',
        '+ context.model: "large"',
        "+ context.words: 100",
    ]
    assert oldest.lines == []
