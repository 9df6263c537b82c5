"""API keys for operators: created here and shown once, then only revoked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from spool.access import keys
from spool.access.callers import BadIdentity, checked_identity
from spool.access.models import ApiKey
from spool.access.scopes import BadScope, check
from spool.console.operations import OperatedAdmin, Operation


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text="One resource:action a line, as threads:read; empty for everything.",
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


@admin.register(ApiKey)
class ApiKeyAdmin(OperatedAdmin):
    form = ApiKeyForm
    list_display = (
        "prefix",
        "owner",
        "name",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_filter = (
        ("owner", FieldTextFilter),
        "last_used_at",
        "expires_at",
        ("revoked_at", admin.EmptyFieldListFilter),
    )
    # The filter for the owner has a submit button.
    list_filter_submit = True
    search_fields = ("prefix", "owner", "name")
    ordering = ("-created_at", "-id")
    # Revoked keys stay, so that prefixes in logs can be found.
    operations = (REVOKE,)
    has_add_permission = ModelAdmin.has_add_permission
    get_search_results = ModelAdmin.get_search_results

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: Any, change: bool
    ) -> None:
        asked = form.cleaned_data
        made, text = keys.create_key(
            owner=asked["owner"],
            name=asked["name"],
            scopes=asked["scopes"],
            expires_at=asked["expires_at"],
        )
        obj.pk, obj.prefix = made.pk, made.prefix
        obj._state.adding = False
        self.message_user(
            request,
            f"The key is {text} — copy it now, it will not be shown again.",
            messages.WARNING,
        )
