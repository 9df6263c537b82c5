"""What the page of an assistant shows: its graph, settings, versions and use."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString
from rest_framework.exceptions import APIException

from spool.access.policy import EVERYTHING
from spool.assistants import schemas
from spool.assistants.graphs import registry
from spool.assistants.models import Assistant, AssistantVersion
from spool.console.drawings import picture
from spool.console.markup import as_text
from spool.crons.models import Cron
from spool.runs.models import Run
from spool.usage.models import UsageTotal
from spool.usage.report import report

MAX_VERSIONS = 20
MAX_FAILED = 10
MAX_CRONS = 20
USAGE_DAYS = 30
COMPARED = ("graph_id", "name", "description", "config", "context", "metadata")


@dataclass(frozen=True, slots=True)
class VersionChange:
    version: AssistantVersion
    # Lines of a diff from the version before, each with its first character.
    lines: list[tuple[str, str]]


def figures(assistant: Assistant) -> dict[str, Any]:
    """The context of `console/assistant.html`; it does not build the graph."""
    failed = Run.objects.failed().filter(assistant_id=assistant.pk)
    crons = Cron.objects.filter(assistant_id=assistant.pk).order_by("next_run_date")
    return {
        "assistant": assistant,
        "is_served": assistant.graph_id in registry().graph_ids,
        "config": as_text(assistant.config),
        "context": as_text(assistant.context),
        "metadata": as_text(assistant.metadata),
        "versions": _versions(assistant),
        "failed": failed.defer("kwargs", "given", "metadata").newest_first()[
            :MAX_FAILED
        ],
        "crons": crons[:MAX_CRONS],
        "usage": _usage(assistant),
        "usage_days": USAGE_DAYS,
    }


def drawn(assistant: Assistant, *, xray: bool) -> SafeString | str:
    """The picture of its graph, or the reason why there is none."""
    try:
        return picture(schemas.drawable_graph(assistant, EVERYTHING, xray))
    except APIException as exc:
        return str(exc.detail)


def schemas_of(assistant: Assistant) -> list[tuple[str, SafeString]] | str:
    """The graph's schemas by name, or the reason why there are none."""
    try:
        found = schemas.graph_schemas(assistant, EVERYTHING)
    except APIException as exc:
        return str(exc.detail)
    return [
        (name.removesuffix("_schema").capitalize(), as_text(found[name]))
        for name in ("input_schema", "output_schema", "state_schema", "context_schema")
        if found.get(name)
    ]


def _versions(assistant: Assistant) -> list[VersionChange]:
    newest = list(assistant.versions.order_by("-version")[: MAX_VERSIONS + 1])
    changes = [VersionChange(now, _diff(then, now)) for now, then in pairwise(newest)]
    if len(newest) <= MAX_VERSIONS:
        changes += [VersionChange(first, []) for first in newest[-1:]]
    return changes


def _diff(then: AssistantVersion, now: AssistantVersion) -> list[tuple[str, str]]:
    lines = difflib.unified_diff(_lines(then), _lines(now), lineterm="", n=0)
    return [
        (line[0], line) for line in lines if not line.startswith(("---", "+++", "@@"))
    ]


def _lines(version: AssistantVersion) -> list[str]:
    named = {name: getattr(version, name) for name in COMPARED}
    text = json.dumps(named, indent=1, ensure_ascii=False, sort_keys=True)
    return text.split("\n")


def _usage(assistant: Assistant) -> dict[str, Any]:
    since = timezone.now().date() - timedelta(days=USAGE_DAYS)
    totals = UsageTotal.objects.filter(day__gte=since, assistant_id=assistant.pk)
    return report(totals, ["model"])
