"""Assistants for operators: their graph, their settings, and all versions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from spool.assistants.graphs import registry
from spool.assistants.models import Assistant
from spool.console import assistant_page
from spool.console.assistant_operations import (
    ASSISTANT_OPERATIONS,
    CONFIGURE,
    MAKE_CURRENT,
)
from spool.console.lists import metadata_filter
from spool.console.operations import OperatedAdmin


@admin.register(Assistant)
class AssistantAdmin(OperatedAdmin):
    list_display = (
        "name",
        "graph_id",
        "graph",
        "owner",
        "version",
        "is_system",
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
    deletable = True

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Assistant], search_term: str
    ) -> tuple[QuerySet[Assistant], bool]:
        """Search exact values, or else in names, which scans all rows."""
        if not (term := search_term.strip()):
            return queryset, False
        if (by_metadata := metadata_filter(term)) is not None:
            return queryset.filter(by_metadata), False
        exactly = Q(owner=term) | Q(graph_id=term)
        with suppress(ValueError):
            exactly |= Q(pk=UUID(term))
        found = queryset.filter(exactly)
        return found if found.exists() else queryset.filter(name__icontains=term), False

    @display(description="state", label={"served": "success", "not served": "danger"})
    def graph(self, assistant: Assistant) -> str:
        is_served = assistant.graph_id in registry().graph_ids
        return "served" if is_served else "not served"

    # --- One assistant ----------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        parts = [
            path(
                f"<uuid:assistant_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"assistants_assistant_{name}",
            )
            for name, view in (
                ("picture", self.picture_view),
                ("schemas", self.schemas_view),
            )
        ]
        return [*parts, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        assistant = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if assistant is not None and self.has_view_permission(request, assistant):
            context |= assistant_page.figures(assistant)
            context |= {
                "title": assistant.name,
                "subtitle": None,
                "buttons": self.buttons(request, assistant),
                "may_act": self.may(request, CONFIGURE),
                "make_current_url": self.operation_url(MAKE_CURRENT, assistant),
            }
        return super().change_view(request, object_id, form_url, context)

    def picture_view(self, request: HttpRequest, assistant_id: UUID) -> HttpResponse:
        """The graph, drawn when the page is open: building one may take seconds."""
        assistant = self._visible(request, assistant_id)
        xray = "xray" in request.GET
        drawn = assistant_page.drawn(assistant, xray=xray)
        context = {"drawn": drawn, "xray": xray, "assistant": assistant}
        return TemplateResponse(request, "console/assistant_graph.html", context)

    def schemas_view(self, request: HttpRequest, assistant_id: UUID) -> HttpResponse:
        schemas = assistant_page.schemas_of(self._visible(request, assistant_id))
        is_error = isinstance(schemas, str)
        context = {"error": schemas} if is_error else {"schemas": schemas}
        return TemplateResponse(request, "console/assistant_schemas.html", context)

    def _visible(self, request: HttpRequest, assistant_id: UUID) -> Assistant:
        assistant = self.get_object(request, str(assistant_id))
        if assistant is None:
            raise Http404
        if not self.has_view_permission(request, assistant):
            raise PermissionDenied
        return assistant
