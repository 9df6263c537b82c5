"""What users of the console have done: who, what and why."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest
from unfold.decorators import display

from spool.console.lists import ReadOnlyAdmin
from spool.console.markup import link_to, owner_link
from spool.console.owners import LOGGED_AS


@admin.register(LogEntry)
class LogAdmin(ReadOnlyAdmin):
    """Entries outlive their rows."""

    list_display = ("action_time", "user", "kind", "what", "did")
    list_display_links = None
    list_select_related = ("user", "content_type")
    search_fields = ("object_id", "user__username")
    search_help_text = "The whole id of a row, `owner NAME`, or the name of a user"
    # The order in which entries were written, newest first.
    ordering = ("-id",)
    sortable_by = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(self.has_view_permission(request))

    @display(description="kind")
    def kind(self, entry: LogEntry) -> str:
        if _owner_of(entry):
            return "owner"
        return str(entry.content_type.name) if entry.content_type else "-"

    @display(description="row")
    def what(self, entry: LogEntry) -> str:
        if owner := _owner_of(entry):
            return owner_link(owner)
        if entry.is_deletion() or not (path := entry.get_admin_url()):
            return entry.object_repr
        return link_to(path, entry.object_repr)

    @display(description="what and why")
    def did(self, entry: LogEntry) -> str:
        return entry.get_change_message()


def _owner_of(entry: LogEntry) -> str:
    """The owner that an entry is about; empty if the entry is about a row."""
    found = entry.object_id or ""
    return found.removeprefix(LOGGED_AS) if found.startswith(LOGGED_AS) else ""
