"""Links, ids and documents as HTML, for lists and pages."""

from __future__ import annotations

import json
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.timesince import timeuntil

from spool.console.redaction import redacted
from spool.database.json import dumps, from_jsonb
from spool.store.models import StoreItem

# Longer documents are cut, since a page can't show megabytes.
MAX_CHARACTERS = 20_000


def as_text(value: Any, *, hides_secrets: bool = False) -> SafeString:
    """A JSON document, formatted for reading."""
    plain = from_jsonb(dumps(value))
    shown = redacted(plain) if hides_secrets else plain
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}\n… {len(text)} characters in all"
    return format_html('<pre class="overflow-x-auto text-xs">{}</pre>', text)


# Ids are UUIDs of version 7: these first characters are the millisecond of creation.
SHORT_ID = 13


def short_link(page: str, key: Any) -> str:
    """A link to a row; `page` is its app and model, such as `runs_run`.

    The row may have been deleted. The link shows a short id, and has a button that
    copies the whole one.
    """
    if key is None:
        return "-"
    path = reverse(f"admin:{page}_change", args=[key])
    return format_html(
        '<span class="id"><a class="console-link" href="{}" title="{}">{}</a> {}</span>',
        path,
        key,
        short(key),
        copy_button(key),
    )


def short_id(key: Any) -> SafeString:
    """A short id with a button that copies the whole one."""
    return format_html(
        '<span class="id" title="{}">{} {}</span>', key, short(key), copy_button(key)
    )


def short(key: Any) -> str:
    return str(key)[:SHORT_ID]


def copy_button(text: Any) -> SafeString:
    return format_html(
        '<button type="button" class="copy" data-copy="{}" '
        'aria-label="Copy {}" title="Copy"><span class="material-symbols-outlined" aria-hidden="true">'
        "content_copy</span></button>",
        text,
        text,
    )


def expiry(item: StoreItem) -> str:
    """When an item expires, for reading; "never" without a time to live."""
    if item.expires_at is None:
        return "never"
    if item.expires_at <= timezone.now():
        return "expired"
    return f"{item.expires_at:%Y-%m-%d %H:%M:%S}, in {timeuntil(item.expires_at)}"


def link_to_rows(page: str, text: str, **query: Any) -> str:
    """A link to the rows of a list that match a search or a filter."""
    return link_to(f"{reverse(f'admin:{page}_changelist')}?{urlencode(query)}", text)


def owner_link(owner: str) -> SafeString | str:
    """A link to the owner's page; empty without an owner."""
    if not owner:
        return ""
    return link_to(reverse("console-owner", args=[owner]), owner)


def link_to(path: str, text: str) -> SafeString:
    return format_html('<a class="console-link" href="{}">{}</a>', path, text)
