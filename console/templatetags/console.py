"""Filters of the console's templates."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django import template
from django.db.models import Model
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from spool.console import badges, markup
from spool.runs.figures import Histogram

register = template.Library()
register.filter("badge", badges.badge)
register.filter("short_id", markup.short_id)
register.filter("owner_link", markup.owner_link)
register.filter("expiry", markup.expiry)


@register.filter
def heading(title: Any) -> str:
    """Capitalise a title of ours; the name of a row stays as it is."""
    return str(title) if isinstance(title, Model) else capfirst(str(title))


@register.filter
def at(time: datetime | None) -> SafeString | str:
    """A time in UTC, to the second; empty for None."""
    if time is None:
        return ""
    utc = time.astimezone(UTC)
    text = f"{utc:%Y-%m-%d %H:%M:%S}"
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>', utc.isoformat(), text, text
    )


@register.filter
def without_repeats(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Breadcrumbs without an app that has the same title as its page, which follows."""
    following = [heading(part["title"]) for part in parts[1:]] + [""]
    return [
        part
        for part, after in zip(parts, following, strict=True)
        if heading(part["title"]) != after
    ]


@register.filter
def linked(key: Any, page: str) -> SafeString | str:
    """A link to a row's page: `{{ run.thread_id|linked:"threads_thread" }}`."""
    return markup.short_link(page, key)


@register.filter
def duration(milliseconds: float | None) -> str:
    """Milliseconds for reading: `12 ms`, `3.4 s`, `2 min 5 s`, `1 h`; `-` for None."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


@register.filter
def seconds(value: float | None) -> str:
    """Like `duration`, for a number of seconds."""
    return duration(None if value is None else value * 1000)


@register.filter
def quantile(histogram: Histogram, part: float) -> str:
    """The quantile `part` (0 to 1) of a histogram of times."""
    return seconds(histogram.quantile(part))


@register.filter
def age(time: datetime) -> str:
    """How long ago a time was, such as `3 s`."""
    return seconds(max((timezone.now() - time).total_seconds(), 0))


@register.filter
def percent(part: float) -> str:
    """A fraction as a percentage without decimals: `27 %`. A small one is not `0 %`."""
    return "< 1 %" if 0 < part < 0.01 else f"{part:.0%}".replace("%", " %")


@register.filter
def money(amount: str) -> str:
    """An amount with two decimals, or more if it has more."""
    return f"{Decimal(amount).normalize() + Decimal('0.00'):f}"
