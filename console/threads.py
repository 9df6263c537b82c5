"""Threads for operators, who can search, view and delete them with their data."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from spool.access.policy import EVERYTHING
from spool.console.lists import BigTableAdmin, document, metadata_filter
from spool.console.markup import link, link_to_rows
from spool.threads.checkpoint_rows import newest_checkpoints, storage
from spool.threads.models import Thread
from spool.threads.services import delete_threads

COLOURS = {
    Thread.Status.IDLE: "success",
    Thread.Status.BUSY: "info",
    Thread.Status.INTERRUPTED: "warning",
    Thread.Status.ERROR: "danger",
}
SHOWN_CHECKPOINTS = 20


@admin.register(Thread)
class ThreadAdmin(BigTableAdmin):
    list_display = (
        "id",
        "coloured_status",
        "owner",
        "graph",
        "created_at",
        "updated_at",
        "expires_at",
    )
    list_filter = ("status",)
    # Sorting needs an index.
    sortable_by = ("created_at", "updated_at")
    ordering = ("-created_at", "id")
    search_fields = ("owner",)
    search_help_text = (
        "The id of a thread or an assistant, an owner, or metadata: key=value or JSON"
    )
    fields = readonly_fields = (
        "id",
        "coloured_status",
        "owner",
        "its_runs",
        "metadata_text",
        "values_text",
        "interrupts_text",
        "error_text",
        "config_text",
        "created_at",
        "updated_at",
        "state_updated_at",
        "ttl_minutes",
        "ttl_strategy",
        "expires_at",
        "stored",
        "newest",
    )

    # --- The list ---------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        return Thread.objects.visible_to(EVERYTHING)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        # The state may be megabytes a row, and the list does not show it.
        changelist.result_list = changelist.result_list.defer(
            "values", "interrupts", "error", "config"
        )
        return changelist

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Thread], search_term: str
    ) -> tuple[QuerySet[Thread], bool]:
        """Search exact values, so that a million threads can be searched."""
        if not (term := search_term.strip()):
            return queryset, False
        if (by_metadata := metadata_filter(term)) is not None:
            return queryset.filter(by_metadata), False
        found = Q(owner=term)
        with suppress(ValueError):
            by_assistant = Q(metadata__contains={"assistant_id": str(UUID(term))})
            found |= Q(pk=UUID(term)) | by_assistant
        return queryset.filter(found), False

    @display(description="status", label=COLOURS)
    def coloured_status(self, thread: Thread) -> str:
        return thread.status

    def graph(self, thread: Thread) -> str:
        return str(thread.metadata.get("graph_id", "-"))

    # --- One thread -------------------------------------------------------------------
    metadata_text = document("metadata")
    values_text = document("values")
    interrupts_text = document("interrupts")
    error_text = document("error")
    config_text = document("config")

    @display(description="runs")
    def its_runs(self, thread: Thread) -> str:
        return link_to_rows("runs_run", "its runs", q=thread.pk)

    @display(description="state takes")
    def stored(self, thread: Thread) -> str:
        sizes = storage(thread.pk)
        count = sizes["checkpoints"]["count"]
        return f"{filesizeformat(sizes['total_bytes'])} in {count} checkpoints"

    @display(description="newest checkpoints")
    def newest(self, thread: Thread) -> SafeString:
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (*told, link("runs_run", run_id))
                for *told, run_id in newest_checkpoints(thread.pk, SHOWN_CHECKPOINTS)
            ),
        )
        return format_html(
            '<table class="text-xs"><tr><th>namespace</th><th>checkpoint</th>'
            "<th>at</th><th>step</th><th>source</th><th>run</th></tr>{}</table>",
            rows,
        )

    # --- Deleting ---------------------------------------------------------------------
    def get_deleted_objects(
        self, objs: Iterable[Thread], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Don't list the runs, since there may be many."""
        threads = [str(thread) for thread in objs]
        return threads, {"threads, with their runs and state": len(threads)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Thread) -> None:
        delete_threads(Thread.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        chosen = list(queryset.values_list("pk", flat=True))
        delete_threads(Thread.objects.filter(pk__in=chosen))
