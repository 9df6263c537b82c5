"""Threads for operators: the conversation, the state and its history, and repairs."""

from __future__ import annotations

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

    # --- The list ---------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        # A row's state may be megabytes, and neither the list nor the page reads it.
        return Thread.objects.visible_to(EVERYTHING).defer("values")

    def searched(self, term: str) -> Search:
        """Search exact values, which is fast for a million threads, too."""
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
        parts = self.part_urls(
            values=self.values_view,
            state=self.state_view,
            checkpoints=self.checkpoints_view,
        )
        return [*parts, *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Thread) -> dict[str, Any]:
        hides = not self.has_act_permission(request)
        return {
            "title": f"Thread {row.pk}",
            "subtitle": None,
            **self._urls(request, row),
            **thread_page.figures(row, hides_secrets=hides),
        }

    def _urls(self, request: HttpRequest, thread: Thread) -> dict[str, Any]:
        return {
            "thread": thread,
            "may_act": self.may(request, FORK),
            "answer_url": self.operation_url(ANSWER, thread),
            "fork_url": self.operation_url(FORK, thread),
            "put_back_url": self.operation_url(PUT_BACK, thread),
        }

    def checkpoints_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """Checkpoints before `?before=…`, to be added to the end of the page's list."""
        thread = self.visible_row(request, key)
        before = request.GET.get("before")
        context = {
            **self._urls(request, thread),
            **thread_page.history(thread, before, thread_page.MORE),
        }
        return TemplateResponse(request, "console/thread_checkpoints.html", context)

    def values_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """The conversation and the values, which may be megabytes."""
        thread = self.visible_row(request, key)
        hides = not self.has_act_permission(request)
        context = thread_page.conversation(thread, hides_secrets=hides)
        return TemplateResponse(request, "console/thread_values.html", context)

    def state_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """The values at a checkpoint, or the difference between two: `?at=…&at=…`."""
        thread = self.visible_row(request, key)
        hides = not self.has_act_permission(request)
        match request.GET.getlist("at"):
            case [one]:
                state = thread_page.state_at(thread, one, hides_secrets=hides)
            case [first, second]:
                state = thread_page.difference(
                    thread, first, second, hides_secrets=hides
                )
            case _:
                state = thread_page.State()
        context = {"state": state}
        return TemplateResponse(request, "console/thread_state.html", context)
