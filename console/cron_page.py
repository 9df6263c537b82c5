"""The contents of a cron's page: its schedule, its next slots, and its firings."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from spool.assistants.models import Assistant
from spool.console.cron_calendar import coming_of
from spool.console.cron_operations import BY_OPERATOR
from spool.console.lists import ids_in
from spool.console.markup import as_text
from spool.crons.models import Cron, CronFiring, CronFiringQuerySet
from spool.crons.schedule import BadSchedule, BadTimezone, describe, zone

MAX_FIRINGS = 20


def state(cron: Cron) -> str:
    if cron.enabled:
        return "enabled"
    if "end_time" in cron.disabled_reason:
        return "ended"
    return "paused" if cron.disabled_reason in ("", BY_OPERATOR) else "disabled"


def figures(cron: Cron, before: str | None, *, hides_secrets: bool) -> dict[str, Any]:
    """The context of `console/cron.html`: the newest firings, or those `before` one."""
    firings = list(_before(cron, before)[: MAX_FIRINGS + 1])
    assistants = Assistant.objects.filter(pk=cron.assistant_id)
    return {
        "cron": cron,
        "state": state(cron),
        "in_words": _in_words(cron),
        "assistant": assistants.values_list("name", flat=True).first(),
        "coming": _coming(cron),
        "firings": firings[:MAX_FIRINGS],
        "before": firings[MAX_FIRINGS - 1].pk if len(firings) > MAX_FIRINGS else None,
        "payload": as_text(cron.payload, hides_secrets=hides_secrets),
        "metadata": as_text(cron.metadata, hides_secrets=hides_secrets),
    }


def _before(cron: Cron, before: str | None) -> CronFiringQuerySet:
    of_cron = CronFiring.objects.filter(cron=cron.pk).newest_first()
    last = of_cron.filter(pk__in=ids_in(before)).first()
    if last is None:
        return of_cron
    same = Q(fired_at=last.fired_at, pk__lt=last.pk)
    return of_cron.filter(Q(fired_at__lt=last.fired_at) | same)


def _in_words(cron: Cron) -> str:
    try:
        return describe(cron.schedule)
    except BadSchedule as exc:
        return str(exc)


def _coming(cron: Cron) -> list[str]:
    """The next slots as text, in the cron's time zone."""
    try:
        here = zone(cron.timezone)
    except BadTimezone:
        return []
    return [f"{at.astimezone(here):%Y-%m-%d %H:%M:%S %Z}" for at in coming_of(cron)]
