"""The metrics and labels in expressions of alert rules and dashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

# Names like those of our metrics, or of the library's.
METRIC = r"\b(?:spool|process|python)_\w+"
SELECTOR = re.compile(rf"({METRIC})(?:\{{([^}}]*)\}})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
GROUPING = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")
# Labels that Prometheus or a function adds.
ADDED = {"le"}


def of_alerts(file: Path) -> dict[str, str]:
    """The expressions of rules, by the names of their alerts."""
    groups = yaml.safe_load(file.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def of_dashboard(file: Path) -> dict[str, str]:
    """The expressions of a dashboard, by the titles of their panels."""
    dashboard = json.loads(file.read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    variables = dashboard["templating"]["list"]
    return found | {f"${v['name']}": _query_of(v) for v in variables}


def unknown(expression: str, known: dict[str, set[str]]) -> Iterator[str]:
    """Metrics and labels of an expression that are not among the `known` ones.

    `known` maps the names of samples to their labels.
    """
    labels: set[str] = set(ADDED)
    for name, matchers in SELECTOR.findall(expression):
        if name not in known:
            yield name
            continue
        labels |= known[name]
        named = set(MATCHER.findall(_without_texts(matchers)))
        yield from (f"{name}{{{label}}}" for label in named - known[name])
    for grouping in GROUPING.findall(expression):
        named = {label.strip() for label in grouping.split(",")}
        yield from (f"by ({label})" for label in named - labels)
    for label in re.findall(r"label_values\([^,]+, (\w+)\)", expression):
        if label not in labels:
            yield f"label_values(…, {label})"


def _query_of(variable: dict[str, Any]) -> str:
    query = variable["query"]
    return str(query if isinstance(query, str) else query["query"])


def _without_texts(matchers: str) -> str:
    return re.sub(r'"[^"]*"', '""', matchers)
