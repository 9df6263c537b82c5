"""Assistants for operators: their graph, their settings, and all versions."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from unfold.decorators import display

from spool.assistants.graphs import registry
from spool.assistants.models import Assistant
from spool.console import assistant_page
from spool.console.assistant_operations import (
    ASSISTANT_OPERATIONS,
    CONFIGURE,
    MAKE_CURRENT,
)
from spool.console.lists import ids_in, metadata_filter
from spool.console.operations import OperatedAdmin
from spool.console.paging import Search
from spool.runs.models import Pause

STATES = {
    "served": "success",
    "not served": "danger",
    "paused": "warning",
    "graph paused": "warning",
}


@admin.register(Assistant)
class AssistantAdmin(OperatedAdmin):
    list_display = (
        "name",
        "graph_id",
        "graph",
        "its_owner",
        "version",
        "made_by",
        "created_at",
        "updated_at",
    )
    list_filter = ("is_system",)
    sortable_by = ("created_at",)
    ordering = ("-created_at", "id")
    search_fields = ("owner",)
    search_help_text = (
        "An id, a graph, an owner, metadata (key=value or JSON), or a part of a name"
    )
    change_form_template = "console/assistant.html"
    operations = ASSISTANT_OPERATIONS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Assistant]:
        found: QuerySet[Assistant] = super().get_queryset(request)
        paused = Pause.objects.filter(
            kind=Pause.Kind.ASSISTANT, name=Cast(OuterRef("pk"), TextField())
        )
        graphs = Pause.objects.filter(kind=Pause.Kind.GRAPH, name=OuterRef("graph_id"))
        return found.annotate(is_paused=Exists(paused), graph_is_paused=Exists(graphs))

    def searched(self, term: str) -> Search:
        """Search exact values, or else parts of names."""
        if (by_metadata := metadata_filter(term)) is not None:
            return Search([by_metadata])
        exactly = [Q(owner=term), Q(graph_id=term), Q(pk__in=ids_in(term))]
        if Assistant.objects.filter(reduce(or_, exactly)).exists():
            return Search(exactly)
        return Search([Q(name__icontains=term)], among=Q())

    @display(description="made by", ordering="is_system")
    def made_by(self, assistant: Assistant) -> str:
        return "the server" if assistant.is_system else "a client"

    @display(description="state", label=STATES)
    def graph(self, assistant: Any) -> str:
        if assistant.graph_id not in registry().graph_ids:
            return "not served"
        if assistant.graph_is_paused:
            return "graph paused"
        return "paused" if assistant.is_paused else "served"

    # --- One assistant ----------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        parts = self.part_urls(picture=self.picture_view, schemas=self.schemas_view)
        return [*parts, *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Assistant) -> dict[str, Any]:
        return {
            "title": row.name,
            "subtitle": None,
            "may_act": self.may(request, CONFIGURE),
            "make_current_url": self.operation_url(MAKE_CURRENT, row),
            **assistant_page.figures(
                row, hides_secrets=not self.has_act_permission(request)
            ),
        }

    def picture_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """The picture of the graph, loaded by the page: a build may take seconds."""
        assistant = self.visible_row(request, key)
        xray = "xray" in request.GET
        drawn = assistant_page.drawn(assistant, xray=xray)
        context = {"drawn": drawn, "xray": xray, "assistant": assistant}
        return TemplateResponse(request, "console/assistant_graph.html", context)

    def schemas_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        schemas = assistant_page.schemas_of(self.visible_row(request, key))
        is_error = isinstance(schemas, str)
        context = {"error": schemas} if is_error else {"schemas": schemas}
        return TemplateResponse(request, "console/assistant_schemas.html", context)
