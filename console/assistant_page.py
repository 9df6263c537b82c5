"""The contents of an assistant's page: its graph, settings, versions and usage."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
from spool.console.overview import runs_chart
from spool.console.redaction import redacted
from spool.crons.models import Cron
from spool.runs import figures as run_figures
from spool.runs.figures import Range
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
    # The diff from the previous version: pairs of a sign and a line with the sign.
    lines: list[tuple[str, str]]


def figures(assistant: Assistant, *, hides_secrets: bool) -> dict[str, Any]:
    """The context of `console/assistant.html`; it does not build the graph."""
    failed = Run.objects.failed().filter(assistant_id=assistant.pk)
    crons = Cron.objects.filter(assistant_id=assistant.pk).order_by("next_run_date")
    return {
        "assistant": assistant,
        "is_served": assistant.graph_id in registry().graph_ids,
        "config": as_text(assistant.config, hides_secrets=hides_secrets),
        "context": as_text(assistant.context, hides_secrets=hides_secrets),
        "metadata": as_text(assistant.metadata, hides_secrets=hides_secrets),
        "versions": _versions(assistant, hides_secrets=hides_secrets),
        "failed": failed.defer("kwargs", "given", "metadata").newest_first()[
            :MAX_FAILED
        ],
        "crons": crons[:MAX_CRONS],
        "usage": _usage(assistant),
        "runs_chart": runs_chart(
            run_figures.over_time(Range.WEEK, graph_id=assistant.graph_id)
        ),
        "failures": run_figures.failures(Range.WEEK, graph_id=assistant.graph_id)[
            :MAX_FAILED
        ],
        "usage_days": USAGE_DAYS,
    }


def drawn(assistant: Assistant, *, xray: bool) -> SafeString | str:
    """The picture of the assistant's graph, or the reason why there is none."""
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


def _versions(assistant: Assistant, *, hides_secrets: bool) -> list[VersionChange]:
    newest = list(assistant.versions.order_by("-version")[: MAX_VERSIONS + 1])
    known = [_settings(one, hides_secrets=hides_secrets) for one in newest]
    changes = [
        VersionChange(version, _diff(then, now))
        for version, (now, then) in zip(newest, pairwise(known), strict=False)
    ]
    if len(newest) <= MAX_VERSIONS:
        changes += [VersionChange(first, []) for first in newest[-1:]]
    return changes


def _diff(then: dict[str, str], now: dict[str, str]) -> list[tuple[str, str]]:
    """The removed and added settings, as pairs of a sign and a line."""
    lines = []
    for name in sorted(then.keys() | now.keys()):
        for sign, values, others in (("-", then, now), ("+", now, then)):
            if name in values and values[name] != others.get(name):
                lines.append((sign, f"{sign} {name}: {values[name]}"))
    return lines


def _settings(version: AssistantVersion, *, hides_secrets: bool) -> dict[str, str]:
    """The values that can differ between versions, by path, such as `context.model`."""
    found: dict[str, Any] = {name: getattr(version, name) for name in COMPARED}
    # `configurable` mirrors the context: see `assistants.services.mirror_context`.
    if found["config"].get("configurable") == found["context"]:
        rest = {k: v for k, v in found["config"].items() if k != "configurable"}
        found["config"] = rest
    shown = redacted(found) if hides_secrets else found
    return dict(_flat("", shown))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, one in value.items():
            yield from _flat(f"{path}.{name}" if path else str(name), one)
    elif path:
        yield path, json.dumps(value, ensure_ascii=False)


def _usage(assistant: Assistant) -> dict[str, Any]:
    since = timezone.now().date() - timedelta(days=USAGE_DAYS)
    totals = UsageTotal.objects.filter(day__gte=since, assistant_id=assistant.pk)
    return report(totals, ["model"])
