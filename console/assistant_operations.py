"""What operators can do with an assistant.

The rows are those of `AssistantAdmin`, which know whether they are paused.
"""

from __future__ import annotations

from typing import Any

from django import forms
from rest_framework.exceptions import APIException
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from spool.access.policy import EVERYTHING
from spool.assistants.assistant_request import AssistantChanges
from spool.assistants.models import Assistant
from spool.assistants.schemas import graph_schemas
from spool.assistants.services import delete_assistant, set_latest, update_assistant
from spool.console.operations import Operation, ReasonForm, deletion
from spool.console.schema_forms import AnyJSON, fields_of, values_of
from spool.runs import queue
from spool.runs.models import Pause

EVERY_ASSISTANT = Assistant.objects.visible_to(EVERYTHING)


class VersionForm(ReasonForm):
    version = forms.IntegerField(widget=forms.HiddenInput)


class ConfigureForm(ReasonForm):
    """The assistant's name, and fields for the settings in its graph's schema."""

    field_order = ("name", "description")

    # The version from which the form was filled.
    based_on = forms.IntegerField(widget=forms.HiddenInput)
    name = forms.CharField(widget=UnfoldAdminTextInputWidget)
    description = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget)
    recursion_limit = forms.IntegerField(
        required=False,
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Steps that a run may take. Empty for the default.",
    )
    tags = forms.CharField(
        required=False,
        label="Tags of its runs",
        widget=UnfoldAdminTextInputWidget,
        help_text="For tracing; separated by commas.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assistant: Assistant = self.row
        self.initial = {
            "based_on": assistant.version,
            "name": assistant.name,
            "description": assistant.description,
            "recursion_limit": assistant.config.get("recursion_limit"),
            "tags": ", ".join(assistant.config.get("tags") or []),
            **self.initial,
        }
        if named := fields_of(_context_schema(assistant), assistant.context):
            self.fields |= named
        else:
            self.fields["context"] = AnyJSON(required=False, initial=assistant.context)
        last = ("recursion_limit", "tags", "reason")
        self.order_fields([*self.field_order, *named, "context", *last])

    def clean_based_on(self) -> int:
        based_on: int = self.cleaned_data["based_on"]
        if based_on != self.row.version:
            raise forms.ValidationError(
                "It was changed meanwhile: go back and open the form again."
            )
        return based_on

    def clean_tags(self) -> list[str]:
        return [
            tag for one in self.cleaned_data["tags"].split(",") if (tag := one.strip())
        ]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if "context" in self.fields:
            cleaned["context"] = cleaned.get("context") or {}
            if not isinstance(cleaned["context"], dict):
                self.add_error("context", "The context must be an object.")
        else:
            cleaned["context"] = values_of(cleaned, self.row.context)
        return cleaned


def _context_schema(assistant: Assistant) -> dict[str, Any]:
    try:
        schemas = graph_schemas(assistant, EVERYTHING)
    except APIException:  # The graph fails to build, or is no longer served.
        return {}
    return schemas.get("context_schema") or {}


def _configure(assistant: Assistant, answers: dict[str, Any]) -> bool:
    changes = AssistantChanges(
        name=answers["name"],
        description=answers["description"] or None,
        config=_config(assistant, answers),
        context=answers["context"],
    )
    return update_assistant(EVERY_ASSISTANT, assistant.pk, changes) is not None


def _config(assistant: Assistant, answers: dict[str, Any]) -> dict[str, Any]:
    """The config without `configurable`, which the context replaces."""
    changed = {name: answers[name] for name in ("recursion_limit", "tags")}
    kept = {
        name: value
        for name, value in assistant.config.items()
        if name not in ("configurable", *changed)
    }
    return kept | {name: value for name, value in changed.items() if value}


def _roll_back(assistant: Assistant, answers: dict[str, Any]) -> bool:
    version: int = answers["version"]
    return set_latest(EVERY_ASSISTANT, assistant.pk, version, {}) is not None


def _delete(assistant: Assistant, answers: dict[str, Any]) -> bool:
    delete_assistant(EVERY_ASSISTANT, assistant.pk)
    return True


CONFIGURE = Operation(
    "configure",
    "Change",
    _configure,
    done="changed, as a new version",
    left="it is gone",
    form=ConfigureForm,
    in_list=False,
)
MAKE_CURRENT = Operation(
    "make_current",
    "Make this version the current one",
    _roll_back,
    done="restored to an earlier version",
    left="it is gone",
    form=VersionForm,
    in_list=False,
    on_page=False,
)
PAUSE_GRAPH = Operation(
    "pause_graph",
    "Pause its graph",
    lambda assistant, answers: queue.pause(Pause.Kind.GRAPH, assistant.graph_id),
    done="graph paused: its new runs wait",
    left="its graph is paused already",
    warning="All runs of the graph wait, of every assistant, until it is resumed.",
    applies=lambda assistant: not assistant.graph_is_paused,
)
RESUME_GRAPH = Operation(
    "resume_graph",
    "Resume its graph",
    lambda assistant, answers: queue.resume(Pause.Kind.GRAPH, assistant.graph_id),
    done="graph resumed",
    left="its graph was not paused",
    applies=lambda assistant: assistant.graph_is_paused,
)
PAUSE = Operation(
    "pause",
    "Pause",
    lambda assistant, answers: queue.pause(Pause.Kind.ASSISTANT, str(assistant.pk)),
    done="paused: its new runs wait",
    left="it is paused already",
    warning="Its pending and new runs wait until it is resumed. Running ones continue.",
    applies=lambda assistant: not assistant.is_paused,
)
RESUME = Operation(
    "resume",
    "Resume",
    lambda assistant, answers: queue.resume(Pause.Kind.ASSISTANT, str(assistant.pk)),
    done="resumed",
    left="it was not paused",
    applies=lambda assistant: assistant.is_paused,
)
DELETE = deletion(
    _delete, "Its versions are deleted, too. Active runs are cancelled, and crons fail."
)
ASSISTANT_OPERATIONS = (
    CONFIGURE,
    MAKE_CURRENT,
    PAUSE,
    RESUME,
    PAUSE_GRAPH,
    RESUME_GRAPH,
    DELETE,
)
