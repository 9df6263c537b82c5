"""Threads for operators: the conversation, the state and its history, and repairs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from unfold.decorators import display

from spool.access.policy import EVERYTHING
from spool.console import thread_page
from spool.console.badges import COLOURS
from spool.console.health import FORGOTTEN
from spool.console.lists import metadata_filter
from spool.console.markup import short_id
from spool.console.operations import OperatedAdmin
from spool.console.paging import Search
from spool.console.thread_operations import ANSWER, FORK, PUT_BACK, THREAD_OPERATIONS
from spool.threads.models import Thread
from spool.threads.services import delete_threads


class WaitsFilter(admin.SimpleListFilter):
    title = "waits for an answer"
    parameter_name = "waits"
    is_indexed = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("day", "for more than a day")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> Any:
        return queryset.filter(FORGOTTEN) if self.value() == "day" else queryset


@admin.register(Thread)
class ThreadAdmin(OperatedAdmin):
    list_display = (
        "short",
        "coloured_status",
        "its_owner",
        "graph",
        "created_at",
        "updated_at",
        "expires_at",
    )
    list_filter = ("status", WaitsFilter)
    # Sorting needs an index.
    sortable_by = ("created_at", "updated_at")
    ordering = ("-created_at", "id")
    search_fields = ("owner",)
    search_ids = ("id",)
    indexed_filters = ("status",)
    list_defer = ("values", "interrupts", "error", "config")
    search_help_text = (
        "The beginning of a thread's id, an assistant's id, an owner, or metadata: "
        "key=value or JSON"
    )
    change_form_template = "console/thread.html"
    operations = THREAD_OPERATIONS
    deletable = True

    # --- The list ---------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        # The state may be megabytes a row, and neither the list nor the page reads it.
        return Thread.objects.visible_to(EVERYTHING).defer("values")

    def searched(self, term: str) -> Search:
        """Search exact values, so that a million threads can be searched."""
        if (by_metadata := metadata_filter(term)) is not None:
            return Search([by_metadata])
        found = [Q(owner=term), *self.with_id(term)]
        with suppress(ValueError):
            of_assistant = {"assistant_id": str(UUID(term))}
            found.append(Q(metadata__contains=of_assistant))
        return Search(found)

    @display(description="id")
    def short(self, thread: Thread) -> str:
        return short_id(thread.pk)

    @display(description="status", label=COLOURS)
    def coloured_status(self, thread: Thread) -> str:
        return thread.status

    def graph(self, thread: Thread) -> str:
        return str(thread.metadata.get("graph_id", "-"))

    # --- One thread -------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        parts = self.part_urls(values=self.values_view, state=self.state_view)
        return [*parts, *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Thread) -> dict[str, Any]:
        return {
            "title": f"Thread {row.pk}",
            "subtitle": None,
            "may_act": self.may(request, FORK),
            "answer_url": self.operation_url(ANSWER, row),
            "fork_url": self.operation_url(FORK, row),
            "put_back_url": self.operation_url(PUT_BACK, row),
            **thread_page.figures(row, request.GET.get("before")),
        }

    def values_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """The conversation and the values, which may be megabytes."""
        context = thread_page.conversation(self.visible_row(request, key))
        return TemplateResponse(request, "console/thread_values.html", context)

    def state_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """The values at one checkpoint, or the difference of two: `?at=…&at=…`."""
        thread = self.visible_row(request, key)
        match request.GET.getlist("at"):
            case [one]:
                state = thread_page.state_at(thread, one)
            case [first, second]:
                state = thread_page.difference(thread, first, second)
            case _:
                state = thread_page.State()
        context = {"state": state}
        return TemplateResponse(request, "console/thread_state.html", context)

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
