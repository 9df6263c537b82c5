"""API keys for operators: created here and shown once, then only revoked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from spool.access import keys
from spool.access.callers import BadIdentity, checked_identity
from spool.access.models import ApiKey
from spool.access.scopes import BadScope, check
from spool.console.badges import COLOURS
from spool.console.lists import ExactTextFilter
from spool.console.markup import owner_link
from spool.console.operations import OperatedAdmin, Operation
from spool.console.paging import Search
from spool.console.reasons import ReasonedAdmin


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text="One resource:action per line, like threads:read; empty for all.",
    )

    class Meta:
        model = ApiKey
        fields = ("owner", "name", "scopes", "expires_at")
        widgets = {
            "owner": UnfoldAdminTextInputWidget,
            "name": UnfoldAdminTextInputWidget,
        }

    def clean_owner(self) -> str:
        try:
            return checked_identity(self.cleaned_data["owner"])
        except BadIdentity as exc:
            raise forms.ValidationError(str(exc)) from None

    def clean_scopes(self) -> list[str]:
        try:
            return [check(scope) for scope in self.cleaned_data["scopes"].split()]
        except BadScope as exc:
            raise forms.ValidationError(str(exc)) from None


REVOKE = Operation(
    "revoke",
    "Revoke",
    lambda key, answers: keys.revoke([key]),
    done="revoked",
    left="it was revoked before",
    destroys=True,
    warning="Requests with the key are refused from now on, and for good.",
    applies=lambda key: key.revoked_at is None,
)


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    is_expired = key.expires_at is not None and key.expires_at <= timezone.now()
    return "expired" if is_expired else "valid"


@admin.register(ApiKey)
class ApiKeyAdmin(OperatedAdmin, ReasonedAdmin):
    form = ApiKeyForm
    # The form creates keys; existing keys are only shown.
    add_form_template = "admin/change_form.html"
    change_form_template = "console/key.html"
    list_display = (
        "prefix",
        "state",
        "its_owner",
        "name",
        "its_scopes",
        "last_used_at",
        "created_at",
        "expires_at",
        "revoked_at",
    )
    list_filter = (
        ("owner", ExactTextFilter),
        "last_used_at",
        "expires_at",
        ("revoked_at", admin.EmptyFieldListFilter),
    )
    # The filter for the owner has a submit button.
    list_filter_submit = True
    search_fields = ("prefix", "owner", "name")
    ordering = ("-created_at", "-id")
    # Revoked keys are kept, so that their prefixes in logs can be found.
    operations = (REVOKE,)
    has_add_permission = ReasonedAdmin.has_add_permission
    get_search_results = ReasonedAdmin.get_search_results

    def searched(self, term: str) -> Search | None:
        return None

    @display(label=COLOURS)
    def state(self, key: ApiKey) -> str:
        return _state(key)

    @display(description="owner", ordering="owner")
    def its_owner(self, key: ApiKey) -> SafeString | str:
        return owner_link(key.owner)

    @display(description="scopes")
    def its_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes) or "everything"

    def page_context(self, request: HttpRequest, row: ApiKey) -> dict[str, Any]:
        title = f"API key {row.prefix}…"
        return {"title": title, "subtitle": None, "key": row, "state": _state(row)}

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: Any, change: bool
    ) -> None:
        cleaned = form.cleaned_data
        made, text = keys.create_key(
            owner=cleaned["owner"],
            name=cleaned["name"],
            scopes=cleaned["scopes"],
            expires_at=cleaned["expires_at"],
        )
        obj.pk, obj.prefix = made.pk, made.prefix
        obj._state.adding = False
        self.message_user(
            request,
            f"The key is {text} — copy it now, it will not be shown again.",
            messages.WARNING,
        )
