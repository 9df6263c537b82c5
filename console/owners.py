"""The page of an owner: the owner's rows, limits and budgets, and their deletion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from unfold.widgets import UnfoldAdminTextInputWidget

from spool.access.models import ApiKey
from spool.assistants.models import Assistant
from spool.console.entries import Act, user_id_of
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

# Owners are not rows: the log names them by this prefix and their name.
LOGGED_AS = "owner "
# The permission that each form of the page requires.
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
    # Labels refer to fields by id, and each form has a field `reason`.
    budget = BudgetForm(given.get("budget"), auto_id="budget_%s")
    limit = LimitForm(given.get("limit"), auto_id="limit_%s")
    deletion = DeleteForm(given.get("delete"), auto_id="delete_%s", row=owner)
    pause = ReasonForm(given.get("pause", given.get("resume")), auto_id="pause_%s")
    if posted:
        if not request.user.has_perm(PERMISSIONS.get(posted, "")):
            raise PermissionDenied
        forms_of_page = {"budget": budget, "limit": limit, "delete": deletion}
        form = forms_of_page.get(posted, pause)
        if form.is_valid():
            done = _perform(request, owner, posted, form.cleaned_data)
            messages.success(request, f"{owner}: {done}.")
            return HttpResponseRedirect(_page(owner))
    context = {
        **admin.site.each_context(request),
        "title": f"Owner {owner}",
        **_figures(owner, sees_keys=request.user.has_perm("access.view_apikey")),
        "budget_form": budget,
        "limit_form": limit,
        "delete_form": deletion,
        "pause_form": pause,
        "may": {
            name: request.user.has_perm(needed) for name, needed in PERMISSIONS.items()
        },
    }
    return TemplateResponse(request, "console/owner.html", context)


def _perform(
    request: HttpRequest, owner: str, form: str, answers: dict[str, Any]
) -> str:
    """Execute what a form requests, and log it. Returns a text of what was done."""
    is_deletion = form == "delete"
    act = Act(
        user_id=user_id_of(request),
        model=ApiKey,
        key=f"{LOGGED_AS}{owner}",
        name=f"{LOGGED_AS}{owner}",
        label="Delete everything" if is_deletion else form,
        reason=answers["reason"],
        deletes=is_deletion,
        is_one_transaction=not is_deletion,
    )
    return act.log(lambda: _change(owner, form, answers), lambda done: done)


def _change(owner: str, form: str, answers: dict[str, Any]) -> str:
    """Execute what a form requests. Returns a text of what was done."""
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
            parts = [f"{what} ({count})" for what, count in deleted if count]
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


def _figures(owner: str, *, sees_keys: bool) -> dict[str, Any]:
    # The indexes, and the list, leave out discarded threads.
    threads = Thread.objects.filter(owner=owner, discarded_at=None)
    runs = Run.objects.filter(owner=owner)
    counts = [
        _count(threads, _rows("threads_thread", q=owner)),
        *(
            _count(
                runs.filter(status__in=statuses),
                _rows("runs_run", q=owner, status__in=",".join(statuses)),
                kind,
            )
            for kind, statuses in (("active ", Run.ACTIVE), ("ended ", Run.ENDED))
        ),
        *(
            _count(model.objects.filter(owner=owner), _rows(page, q=owner))
            for page, model in (
                ("assistants_assistant", Assistant),
                ("crons_cron", Cron),
                ("store_storeitem", StoreItem),
            )
        ),
    ]
    if sees_keys:
        keys = ApiKey.objects.filter(owner=owner)
        counts.append(_count(keys, _rows("access_apikey", q=owner)))
    return {
        "owner": owner,
        "counts": counts,
        "limit": OwnerLimit.objects.filter(owner=owner).first(),
        "limit_of_all": settings.MAX_RUNNING_PER_OWNER,
        "is_paused": Pause.objects.filter(kind=Pause.Kind.OWNER, name=owner).exists(),
        "budgets": standings(Payer(owner, None)),
        "usage": report(UsageTotal.objects.of_owner(owner), ["model"]),
        "history": LogEntry.objects.filter(object_id=f"{LOGGED_AS}{owner}")
        .select_related("user")
        .order_by("-action_time")[:20],
    }


@dataclass(frozen=True, slots=True)
class Count:
    """A number of the owner's rows, up to `MAX_COUNTED`, and the URL of their list."""

    text: str
    href: str

    def __str__(self) -> str:
        return self.text


def _count(rows: QuerySet[Any], href: str, kind: str = "") -> Count:
    count = rows.order_by().values("pk")[:MAX_COUNTED].count()
    options = rows.model._meta
    name = options.verbose_name if count == 1 else options.verbose_name_plural
    more = " or more" if count == MAX_COUNTED else ""
    return Count(f"{count}{more} {kind}{name}", href)


def _rows(page: str, **query: str) -> str:
    return f"{reverse(f'admin:{page}_changelist')}?{urlencode(query)}"


def _page(owner: str) -> str:
    return reverse("console-owner", args=[owner])
