"""Assistants for operators: their configuration, and all versions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import display

from spool.assistants.graphs import registry
from spool.assistants.models import Assistant, AssistantVersion
from spool.console.lists import BigTableAdmin, document, metadata_filter
from spool.console.markup import link_to_rows


class VersionInline(TabularInline):  # type: ignore[misc]
    model = AssistantVersion
    ordering = ("-version",)
    per_page = 20
    extra = 0
    fields = readonly_fields = (
        "version",
        "created_at",
        "graph_id",
        "name",
        "description",
        "config_text",
        "context_text",
        "metadata_text",
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    config_text = document("config")
    context_text = document("context")
    metadata_text = document("metadata")


@admin.register(Assistant)
class AssistantAdmin(BigTableAdmin):
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
    fields = readonly_fields = (
        "id",
        "name",
        "description",
        "graph_id",
        "graph",
        "owner",
        "version",
        "is_system",
        "its_users",
        "config_text",
        "context_text",
        "metadata_text",
        "created_at",
        "updated_at",
    )
    inlines = (VersionInline,)

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

    @display(description="used by")
    def its_users(self, assistant: Assistant) -> str:
        runs = link_to_rows("runs_run", "runs", q=assistant.pk)
        threads = link_to_rows("threads_thread", "threads", q=assistant.pk)
        return format_html("{}, {}", runs, threads)

    config_text = document("config")
    context_text = document("context")
    metadata_text = document("metadata")
