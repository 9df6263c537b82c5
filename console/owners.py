"""The page of an owner: what is theirs, what they may use, and deleting all of it."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from unfold.widgets import UnfoldAdminTextInputWidget

from spool.access.models import ApiKey
from spool.assistants.models import Assistant
from spool.console.health import MAX_COUNTED
from spool.console.operations import ReasonForm
from spool.console.owner_deletion import delete_owner
from spool.crons.models import Cron
from spool.runs import queue
from spool.runs.models import OwnerLimit, Pause, Run
from spool.store.models import StoreItem
from spool.threads.models import Thread
from spool.usage.budgets import Payer, standings
from spool.usage.models import Budget, UsageTotal
from spool.usage.report import report

# What each form of the page needs.
PERMISSIONS = {
    "budget": "usage.change_budget",
    "limit": "runs.change_ownerlimit",
    "pause": "runs.add_pause",
    "resume": "runs.delete_pause",
    "delete": "access.delete_apikey",
}


class BudgetForm(ReasonForm):
    period = forms.ChoiceField(choices=Budget.Period.choices)
    unit = forms.ChoiceField(choices=Budget.Unit.choices)
    limit = forms.DecimalField(
        required=False,
        min_value=0,
        max_digits=24,
        decimal_places=6,
        help_text="Empty removes the budget.",
    )

    field_order = ("period", "unit", "limit", "reason")


class LimitForm(ReasonForm):
    max_running = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**31 - 1,
        label="Running runs at most",
        help_text="0 for no limit. Empty for the limit that all owners have.",
    )

    field_order = ("max_running", "reason")


class DeleteForm(ReasonForm):
    name = forms.CharField(
        widget=UnfoldAdminTextInputWidget, help_text="The owner's name once more."
    )
    keep_usage = forms.BooleanField(required=False, label="Keep the usage for the bill")

    field_order = ("name", "keep_usage", "reason")

    def clean_name(self) -> str:
        if self.cleaned_data["name"] != self.row:
            raise forms.ValidationError("This is not the owner's name.")
        return str(self.row)


def owner_view(request: HttpRequest, owner: str) -> HttpResponse:
    if not request.user.has_perm("runs.view_run"):
        raise PermissionDenied
    posted = request.POST.get("form") if request.method == "POST" else None
    given = {posted: request.POST}
    # Labels name fields by their id, and each form has a reason.
    budget = BudgetForm(given.get("budget"), auto_id="budget_%s")
    limit = LimitForm(given.get("limit"), auto_id="limit_%s")
    deletion = DeleteForm(given.get("delete"), auto_id="delete_%s", row=owner)
    if posted:
        if not request.user.has_perm(PERMISSIONS.get(posted, "")):
            raise PermissionDenied
        forms_of_page = {"budget": budget, "limit": limit, "delete": deletion}
        form = forms_of_page.get(posted, ReasonForm(request.POST))
        if form.is_valid():
            done = _change(owner, posted, form.cleaned_data)
            _log(request, owner, posted, done, form.cleaned_data["reason"])
            messages.success(request, f"{owner}: {done}.")
            return HttpResponseRedirect(_page(owner))
    context = {
        **admin.site.each_context(request),
        "title": f"Owner {owner}",
        **_figures(owner),
        "budget_form": budget,
        "limit_form": limit,
        "delete_form": deletion,
        "may": {
            name: request.user.has_perm(needed) for name, needed in PERMISSIONS.items()
        },
    }
    return TemplateResponse(request, "console/owner.html", context)


def _change(owner: str, form: str, answers: dict[str, Any]) -> str:
    """Do what a form asks for. Returns what was done, for the message and the log."""
    match form:
        case "budget":
            return _set_budget(owner, answers)
        case "limit":
            return _set_limit(owner, answers["max_running"])
        case "pause":
            return "paused" if queue.pause(Pause.Kind.OWNER, owner) else "paused before"
        case "resume":
            resumed = queue.resume(Pause.Kind.OWNER, owner)
            return "resumed" if resumed else "not paused"
        case _:
            deleted = delete_owner(owner, keep_usage=answers["keep_usage"])
            parts = [f"{count} {what}" for what, count in deleted if count]
            return f"deleted {', '.join(parts) or 'nothing'}"


def _set_budget(owner: str, answers: dict[str, Any]) -> str:
    one = {"owner": owner, "period": answers["period"], "unit": answers["unit"]}
    name = f"budget of {answers['unit']} a {answers['period']}"
    if answers["limit"] is None:
        Budget.objects.filter(**one).delete()
        return f"{name} removed"
    values = {"limit": answers["limit"], "updated_at": Now()}
    Budget.objects.update_or_create(**one, api_key_id=None, defaults=values)
    return f"{name} set to {answers['limit']}"


def _set_limit(owner: str, max_running: int | None) -> str:
    queue.limit_owner(owner, max_running)
    if max_running is None:
        return "own limit of running runs removed"
    return f"limit of running runs set to {max_running or 'none'}"


def _log(request: HttpRequest, owner: str, form: str, done: str, reason: str) -> None:
    LogEntry.objects.create(
        user_id=cast("int", request.user.pk),  # The site lets only users in.
        content_type=ContentType.objects.get_for_model(ApiKey),
        object_id=f"owner {owner}",
        object_repr=f"owner {owner}"[:200],
        action_flag=DELETION if form == "delete" else CHANGE,
        change_message=f"{done}: {reason}" if reason else done,
    )


def _figures(owner: str) -> dict[str, Any]:
    counted = {
        # Indexes leave out discarded threads, which the list does, too.
        "threads_thread": Thread.objects.filter(owner=owner, discarded_at=None),
        "runs_run": Run.objects.active().filter(owner=owner),
        "assistants_assistant": Assistant.objects.filter(owner=owner),
        "crons_cron": Cron.objects.filter(owner=owner),
        "store_storeitem": StoreItem.objects.filter(owner=owner),
        "access_apikey": ApiKey.objects.filter(owner=owner),
    }
    return {
        "owner": owner,
        "counts": [
            {
                "name": rows.model._meta.verbose_name_plural,
                "count": rows.order_by().values("pk")[:MAX_COUNTED].count(),
                "href": _rows(page, owner),
            }
            for page, rows in counted.items()
        ],
        "max_counted": MAX_COUNTED,
        "limit": OwnerLimit.objects.filter(owner=owner).first(),
        "limit_of_all": settings.MAX_RUNNING_PER_OWNER,
        "is_paused": Pause.objects.filter(kind=Pause.Kind.OWNER, name=owner).exists(),
        "budgets": standings(Payer(owner, None)),
        "usage": report(UsageTotal.objects.of_owner(owner), ["model"]),
        "history": LogEntry.objects.filter(object_id=f"owner {owner}")
        .select_related("user")
        .order_by("-action_time")[:20],
    }


def _rows(page: str, owner: str) -> str:
    """The list of what the page counts."""
    query = {"q": owner}
    if page == "runs_run":
        query["status__in"] = ",".join(Run.ACTIVE)
    return f"{reverse(f'admin:{page}_changelist')}?{urlencode(query)}"


def _page(owner: str) -> str:
    return reverse("console-owner", args=[owner])
