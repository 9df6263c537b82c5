"""What operators can do to rows, from lists and from a row's own page.

Each operation asks for confirmation, names the rows that it will change, and is logged
with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from rest_framework.exceptions import APIException
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from spool.console.entries import Act, user_id_of
from spool.console.lists import ReadOnlyAdmin
from spool.console.markup import owner_link

# How many of the chosen rows a confirmation names.
MAX_NAMED = 10


class ReasonForm(forms.Form):
    """The form of an operation's confirmation; subclasses add fields.

    `row` is the row on whose page the button is; None for several rows of a list.
    """

    reason = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Stored in the log, with your name.",
    )

    def __init__(self, *args: Any, row: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row = row


@dataclass(frozen=True, slots=True)
class Operation:
    """A list's action, and a button on a row's page.

    `act` gets the row and the form's values. It returns a false value if it left the
    row as it is. It may return a row that it created, whose page is shown next.
    """

    name: str
    label: str
    act: Callable[[Any, dict[str, Any]], object]
    # For messages and the history: "3 runs: cancelled."
    done: str
    # Why a row may be left as it is.
    left: str = "nothing to do"
    destroys: bool = False
    # What the confirmation says about the consequences.
    warning: str = ""
    form: type[ReasonForm] = ReasonForm
    in_list: bool = True
    # False: a part of the page has its own links to it.
    on_page: bool = True
    # Whether the row's page has the button.
    applies: Callable[[Any], bool] = lambda row: True
    permission: str = "change"
    # Whether `act` writes in one transaction, on Django's connection.
    is_one_transaction: bool = True


def deletion(
    act: Callable[[Any, dict[str, Any]], object], warning: str = ""
) -> Operation:
    """Return the operation that deletes rows by `act`."""
    return Operation(
        "delete",
        "Delete",
        act,
        done="deleted",
        left="it is gone",
        destroys=True,
        warning=f"{warning} This can't be undone.".strip(),
        permission="delete",
    )


class OperatingAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows with operations, which call the same services as the API.

    A row's page is either the fields, with buttons above them, or a template of its
    own, which gets `page_context`.
    """

    change_form_outer_before_template = "console/row_buttons.html"
    operations: tuple[Operation, ...] = ()

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        for operation in self.operations:
            if operation.in_list and self.may(request, operation):
                run = partial(_run_on_list, operation)
                actions[operation.name] = (run, operation.name, operation.label)
        return actions

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<path:object_id>/operations/<str:name>/",
            self.admin_site.admin_view(self.operation_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_operation",
        )
        return [own, *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """The context that the row's own template needs in addition to its buttons."""
        return {}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        context = dict(extra_context or {})
        if row is not None and self.has_view_permission(request, row):
            context["buttons"] = self.buttons(request, row)
            context |= self.page_context(request, row)
        page: HttpResponse = super().change_view(request, object_id, form_url, context)
        return page

    def part_urls(self, **views: Callable[..., HttpResponse]) -> list[URLPattern]:
        """The URLs of parts of a row's page that are loaded on demand, by part's name.

        The views get the row's key as `key`.
        """
        model = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path(
                f"<uuid:key>/{name}/",
                self.admin_site.admin_view(view),
                name=f"{model}_{name}",
            )
            for name, view in views.items()
        ]

    def visible_row(self, request: HttpRequest, key: object) -> Any:
        row = self.get_object(request, str(key))
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def may(self, request: HttpRequest, operation: Operation) -> bool:
        options = self.opts
        codename = f"{operation.permission}_{options.model_name}"
        return bool(request.user.has_perm(f"{options.app_label}.{codename}"))

    def buttons(self, request: HttpRequest, row: Model) -> list[dict[str, Any]]:
        """The operations that a row's page offers to this user."""
        return [
            {
                "label": operation.label,
                "href": self.operation_url(operation, row),
                "destroys": operation.destroys,
            }
            for operation in self.operations
            if operation.on_page
            and operation.applies(row)
            and self.may(request, operation)
        ]

    def operation_url(self, operation: Operation, row: Model) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_operation"
        return reverse(name, args=[row.pk, operation.name])

    def operation_view(
        self, request: HttpRequest, object_id: str, name: str
    ) -> HttpResponse:
        operation = next((one for one in self.operations if one.name == name), None)
        row = self.get_object(request, unquote(object_id))
        if operation is None or row is None:
            raise Http404
        if not self.may(request, operation):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else None
        form = operation.form(given, initial=request.GET.dict(), row=row)
        if request.method != "POST" or not form.is_valid():
            return self._confirmation(request, operation, form, [row])
        made = self.perform(request, operation, [row], form.cleaned_data)
        return HttpResponseRedirect(self._page_after(request, made or row))

    def perform(
        self,
        request: HttpRequest,
        operation: Operation,
        rows: Iterable[Any],
        answers: dict[str, Any],
    ) -> Model | None:
        """Act on each row. Returns the row that the last act created, if any."""
        count, made = 0, None
        for row in rows:
            try:
                result = self._act(request, operation, row, answers)
            except APIException as exc:
                self.message_user(request, f"{row}: {exc.detail}", messages.ERROR)
                continue
            if not result:
                text = f"{row}: {operation.left}"
                self.message_user(request, text, messages.WARNING)
                continue
            made = result if isinstance(result, Model) else None
            count += 1
        if count:
            text = f"{self._counted(count)}: {operation.done}."
            self.message_user(request, text)
        return made

    def _act(
        self,
        request: HttpRequest,
        operation: Operation,
        row: Any,
        answers: dict[str, Any],
    ) -> object:
        """Act on one row, and log it."""
        act = Act(
            user_id=user_id_of(request),
            model=self.model,
            key=str(row.pk),
            name=str(row),
            label=operation.label,
            reason=answers.get("reason", ""),
            deletes=operation.permission == "delete",
            is_one_transaction=operation.is_one_transaction,
        )
        return act.log(lambda: operation.act(row, answers), lambda _: operation.done)

    def _page_after(self, request: HttpRequest, row: Model) -> str:
        options = row._meta
        model_admin = self.admin_site._registry.get(type(row))
        page = f"admin:{options.app_label}_{options.model_name}"
        if row.pk and model_admin and model_admin.get_object(request, str(row.pk)):
            return reverse(f"{page}_change", args=[row.pk])
        return reverse(f"{page}_changelist")

    def _counted(self, count: int) -> str:
        """A phrase such as `3 runs`."""
        options = self.opts
        one = count == 1
        return f"{count} {options.verbose_name if one else options.verbose_name_plural}"

    def _confirmation(
        self,
        request: HttpRequest,
        operation: Operation,
        form: ReasonForm,
        rows: Sequence[Any],
        *,
        from_list: bool = False,
    ) -> TemplateResponse:
        count = len(rows)
        named = [str(row) for row in rows[:MAX_NAMED]]
        context = {
            **self.admin_site.each_context(request),
            "title": f"{operation.label}: {self._counted(count)}",
            "opts": self.opts,
            "operation": operation,
            "form": form,
            "named": named,
            "more": count - len(named),
            "chosen": [str(row.pk) for row in rows] if from_list else [],
            "checkbox": ACTION_CHECKBOX_NAME,
            "back": request.get_full_path()
            if from_list
            else self._page_after(request, rows[0]),
        }
        return TemplateResponse(request, "console/confirmation.html", context)


class OperatedAdmin(OperatingAdmin, ReadOnlyAdmin):
    """Rows that only Spool writes, with operations."""

    @display(description="owner")
    def its_owner(self, row: Any) -> str:
        return owner_link(row.owner)


def _run_on_list(
    operation: Operation,
    model_admin: OperatingAdmin,
    request: HttpRequest,
    queryset: QuerySet[Any],
) -> HttpResponse | None:
    rows = list(queryset)
    form = operation.form(request.POST if "confirmed" in request.POST else None)
    if not form.is_valid():
        return model_admin._confirmation(request, operation, form, rows, from_list=True)
    model_admin.perform(request, operation, rows, form.cleaned_data)
    return None
