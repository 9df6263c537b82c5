"""The query plan of a statement: which tables it reads, and what it sorts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.db import connection


def plan_of(sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The nodes of the plan, from `EXPLAIN (FORMAT JSON)`."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        (answer,) = cursor.fetchone()
    parsed = json.loads(answer) if isinstance(answer, str) else answer
    return list(_nodes(parsed[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def kinds_in(plan: list[dict[str, Any]]) -> set[str]:
    """`Seq Scan`, `Index Scan`, `Sort` and the like."""
    return {node["Node Type"] for node in plan}


def indexes_in(plan: list[dict[str, Any]]) -> set[str]:
    return {node["Index Name"] for node in plan if "Index Name" in node}
