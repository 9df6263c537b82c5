"""Usage over HTTP: callers see only their own."""

from __future__ import annotations

import csv
import io
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.views import OwnedViewSet
from spool.usage.models import (
    UsageRuns,
    UsageRunsQuerySet,
    UsageTotal,
    UsageTotalQuerySet,
)
from spool.usage.report import report
from spool.usage.serializers import UsageBody, UsageQuery
from spool.web.answers import INVALID
from spool.web.bodies import valid

FILTERS = ("assistant_id", "graph_id", "node", "model", "owner")
FILTERS_OF_RUNS = {"day__range", "assistant_id", "graph_id", "owner"}


class UsageViewSet(OwnedViewSet[UsageTotal]):
    # A policy's filters are for threads, which may be deleted, so usage is filtered by
    # its owner.
    events = {"list": "threads.search"}

    @extend_schema(
        parameters=[UsageQuery],
        responses={200: UsageBody, (200, "text/csv"): str, 422: INVALID},
    )
    def list(self, request: Request) -> Response | HttpResponse:
        """Usage of the caller's runs with its cost, by model or as requested.

        Without authentication, it is the usage of all runs.
        """
        query = valid(UsageQuery, request.query_params)
        found = report(self._matching(query), query["group_by"], self._runs(query))
        if query["format"] == "csv":
            return _csv(query["group_by"], found)
        return Response({"start": query["start"], "end": query["end"], **found})

    def get_queryset(self) -> UsageTotalQuerySet:
        owner = self.get_scope().identity
        totals = UsageTotal.objects
        return totals.all() if owner is None else totals.of_owner(owner)

    def get_policy_value(self) -> dict[str, Any]:
        """The value of a search of threads, although no threads are read."""
        value: dict[str, Any] = {"metadata": {}, "values": {}, "status": None}
        return {**value, "limit": 1, "offset": 0, "ids": None}

    def _matching(self, query: dict[str, Any]) -> UsageTotalQuerySet:
        return self.get_queryset().filter(**_filters(query))

    def _runs(self, query: dict[str, Any]) -> UsageRunsQuerySet | None:
        """The requested runs; None if a filter names something that runs don't have."""
        filters = _filters(query)
        if not filters.keys() <= FILTERS_OF_RUNS:
            return None
        owner = self.get_scope().identity
        runs = UsageRuns.objects
        return (runs.all() if owner is None else runs.of_owner(owner)).filter(**filters)


def _filters(query: dict[str, Any]) -> dict[str, Any]:
    wanted = {name: query[name] for name in FILTERS if query[name] is not None}
    return {"day__range": (query["start"], query["end"]), **wanted}


def _csv(groups: list[str], found: dict[str, Any]) -> HttpResponse:
    names = [*groups, *(n for n in found["total"] if n != "unpriced_models")]
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [*names, "currency", "unpriced_models"], extrasaction="ignore"
    )
    writer.writeheader()
    for row in found["usage"]:
        unpriced = " ".join(row["unpriced_models"])
        cells = {name: _cell(row[name]) for name in names}
        writer.writerow(
            {**cells, "currency": found["currency"], "unpriced_models": unpriced}
        )
    return HttpResponse(
        text.getvalue(),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="usage.csv"'},
    )


def _cell(value: Any) -> Any:
    """Quote text that begins like a formula, since spreadsheets would execute it."""
    is_formula = isinstance(value, str) and value[:1] in (
        "=",
        "+",
        "-",
        "@",
        "\t",
        "\r",
    )
    return f"'{value}" if is_formula else value
