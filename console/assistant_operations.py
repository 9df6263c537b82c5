"""What operators can do with an assistant.

The rows are those of `AssistantAdmin`, which know whether they are paused.
"""

from __future__ import annotations

from typing import Any

from django import forms
from rest_framework.exceptions import APIException
from unfold.widgets import UnfoldAdminTextInputWidget

from spool.access.policy import EVERYTHING
from spool.assistants.assistant_request import AssistantChanges
from spool.assistants.models import Assistant
from spool.assistants.schemas import graph_schemas
from spool.assistants.services import set_latest, update_assistant
from spool.console.operations import Operation, ReasonForm
from spool.console.schema_forms import AnyJSON, fields_of, values_of
from spool.runs import queue
from spool.runs.models import Pause

EVERY_ASSISTANT = Assistant.objects.visible_to(EVERYTHING)


class VersionForm(ReasonForm):
    version = forms.IntegerField(widget=forms.HiddenInput)


class ConfigureForm(ReasonForm):
    """The assistant's name and its settings, as its graph's schema names them."""

    field_order = ("name", "description")

    name = forms.CharField(widget=UnfoldAdminTextInputWidget)
    description = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assistant: Assistant = self.row
        self.initial = {
            "name": assistant.name,
            "description": assistant.description,
            **self.initial,
        }
        if named := fields_of(_context_schema(assistant), assistant.context):
            self.fields |= named
        else:
            self.fields["context"] = AnyJSON(required=False, initial=assistant.context)
        self.order_fields([*self.field_order, *named, "context", "reason"])

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
    except APIException:  # It can't be built, or is not served any more.
        return {}
    return schemas.get("context_schema") or {}


def _configure(assistant: Assistant, answers: dict[str, Any]) -> bool:
    changes = AssistantChanges(
        name=answers["name"],
        description=answers["description"] or None,
        context=answers["context"],
    )
    return update_assistant(EVERY_ASSISTANT, assistant.pk, changes) is not None


def _roll_back(assistant: Assistant, answers: dict[str, Any]) -> bool:
    version: int = answers["version"]
    return set_latest(EVERY_ASSISTANT, assistant.pk, version, {}) is not None


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
    asks_first=True,
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
    asks_first=True,
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
ASSISTANT_OPERATIONS = (
    CONFIGURE,
    MAKE_CURRENT,
    PAUSE,
    RESUME,
    PAUSE_GRAPH,
    RESUME_GRAPH,
)
