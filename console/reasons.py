"""Django's own forms with a field for the reason.

They are used for keys, users, groups and periodic tasks.
"""

from __future__ import annotations

import json
from typing import Any

from django.contrib.admin.models import DELETION, LogEntry
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from spool.console.entries import user_id_of, with_reason

MAX_REASON_LENGTH = 500


class ReasonedAdmin(ModelAdmin):  # type: ignore[misc]
    """Logs additions, changes and deletions with the reason from the form.

    The form of a deletion gets the field by `unfold/helpers/delete_submit_line.html`.
    """

    change_form_after_template = "console/reason.html"

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        entry: LogEntry = super().log_addition(
            request, obj, _explained(request, message)
        )
        return entry

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        entry: LogEntry = super().log_change(request, obj, _explained(request, message))
        return entry

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return LogEntry.objects.log_actions(
            user_id=user_id_of(request),
            queryset=queryset,
            action_flag=DELETION,
            change_message=with_reason("Deleted", _reason(request)),
        )


def _explained(request: HttpRequest, message: Any) -> Any:
    """The message to log: Django's list of changes, or a text if there is a reason."""
    reason = _reason(request)
    if not reason:
        return message
    as_json = json.dumps(message) if isinstance(message, list) else message
    text = LogEntry(change_message=as_json).get_change_message()
    return with_reason(text.removesuffix("."), reason)


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:MAX_REASON_LENGTH]
