"""Crons over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from django.db.models import F
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.views import OwnedViewSet
from spool.crons import firing, services
from spool.crons.cron_request import CronChanges
from spool.crons.models import Cron, CronQuerySet
from spool.crons.requests import allow_changed_runs, allow_cron, allow_run_now
from spool.crons.schedule import describe, slots
from spool.crons.serializers import (
    FOUND,
    CronBody,
    CronFilter,
    CronPatch,
    CronRequestSerializer,
    CronSearch,
    FiringBody,
    PageQuery,
    PreviewBody,
    PreviewRequest,
    cron_json,
    firing_json,
    parse_cron_request,
    slot_text,
)
from spool.runs.models import Run
from spool.runs.serializers import RunBody, run_json
from spool.web.answers import (
    CONTENT_LOCATION,
    INVALID,
    PAGE_HEADERS,
    error,
    list_of,
)
from spool.web.bodies import path_uuid, valid
from spool.web.errors import BadRequest, Unprocessable
from spool.web.pagination import rows_of_page, searched

T = TypeVar("T")

PREVIEWED = 10
# How often to try if a cron keeps changing while the policy decides.
MAX_TRIES = 10
# The filters of a search that are passed to the policy.
FILTERS = ("assistant_id", "thread_id", "metadata")

ERRORS = {404: error("No such cron, thread or assistant"), 422: INVALID}
CHANGED = "The cron was changed by another request at the same time"


class CronViewSet(OwnedViewSet[Cron]):
    """Schedules that start runs."""

    lookup_url_kwarg = "cron_id"
    uuids_in_path = ("cron_id", "thread_id")
    not_found_texts = {"partial_update": "Cron '{id}' not found"}
    events = {
        "create": "crons.create",
        "search": "crons.search",
        "count": "crons.search",
        "retrieve": "crons.read",
        "partial_update": "crons.update",
        "destroy": "crons.delete",
        "firings": "crons.read",
        "run": "crons.update",
        "preview": "crons.search",
    }

    def get_queryset(self) -> CronQuerySet:
        return Cron.objects.visible_to(self.get_scope())

    def get_policy_value(self) -> dict[str, Any]:
        return {"cron_id": self.path_id}

    @extend_schema(request=CronRequestSerializer, responses={200: CronBody, **ERRORS})
    def create(self, request: Request, thread_id: str | None = None) -> Response:
        thread = path_uuid(thread_id, "thread") if thread_id else None
        cron_request = parse_cron_request(request.data)
        allowed = allow_cron(request, cron_request, thread, dict(request.data))
        return Response(cron_json(services.create_cron(allowed)))

    @extend_schema(responses={200: CronBody, **ERRORS})
    def retrieve(self, request: Request, cron_id: str) -> Response:
        return Response(cron_json(self.get_object()))

    @extend_schema(
        request=CronPatch,
        responses={
            200: CronBody,
            400: error("An empty body"),
            409: error(CHANGED),
            **ERRORS,
        },
    )
    def partial_update(self, request: Request, cron_id: str) -> Response:
        fields = request.data
        if not isinstance(fields, dict):
            raise Unprocessable("the body must be an object")
        if not fields:
            raise BadRequest("Request body cannot be empty")
        metadata = fields.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise Unprocessable("metadata: must be an object")
        change = partial(self._change, CronChanges(fields, metadata))
        return Response(cron_json(_until_unchanged(change)))

    def _change(self, changes: CronChanges) -> Cron:
        cron, changes = self._to_change(changes)
        editor = None
        # A change of the schedule creates runs too, so it needs that permission.
        if not changes.only_stop:
            changes, editor = allow_changed_runs(self.request, cron, changes)
        return services.update_cron(cron, changes, editor=editor)

    @extend_schema(responses={204: None, **ERRORS})
    def destroy(self, request: Request, cron_id: str) -> Response:
        services.delete_cron(self.get_object())
        return Response(status=204)

    @extend_schema(
        parameters=PAGE_HEADERS,
        request=CronSearch,
        responses={200: list_of(FOUND), 422: INVALID},
    )
    def search(self, request: Request) -> Response:
        query = valid(CronSearch, request.data)
        found = self._matching(query).order_by(*_order(query))
        rows = [cron_json(cron) for cron in self.page_of(found, query)]
        if names := query["select"]:
            rows = [{name: row[name] for name in names} for row in rows]
        return self.get_paginated_response(rows)

    @extend_schema(request=CronFilter, responses={200: int, 422: INVALID})
    def count(self, request: Request) -> Response:
        return Response(self._matching(valid(CronFilter, request.data)).count())

    def _matching(self, query: dict[str, Any]) -> CronQuerySet:
        allowed = self.authorize(searched(query, *FILTERS))
        query = {**query, "metadata": allowed.value["metadata"]}
        found = self.get_queryset()
        for name in ("assistant_id", "thread_id"):
            if query[name]:
                found = found.filter(**{name: query[name]})
        if query["enabled"] is not None:
            found = found.filter(enabled=query["enabled"])
        if query["metadata"]:
            found = found.filter(metadata__contains=query["metadata"])
        return found

    @extend_schema(
        parameters=[PageQuery], responses={200: FiringBody(many=True), **ERRORS}
    )
    def firings(self, request: Request, cron_id: str) -> Response:
        """The results of a cron's slots, newest first."""
        page = valid(PageQuery, request.query_params)
        rows = self.get_object().firings.newest_first()
        return Response([firing_json(row) for row in rows_of_page(rows, page)])

    @extend_schema(
        parameters=[CONTENT_LOCATION],
        request=None,
        responses={
            200: RunBody,
            409: error(f"The thread is busy, and the cron rejects; or: {CHANGED}"),
            **ERRORS,
        },
    )
    def run(self, request: Request, cron_id: str) -> Response:
        """Create the cron's run now, independent of its schedule."""
        run = _until_unchanged(self._run_now)
        path = f"/threads/{run.thread_id}/runs/{run.id}"
        return Response(run_json(run), headers={"Content-Location": path})

    def _run_now(self) -> Run:
        cron, _ = self._to_change(CronChanges({}, {}))
        # The run is the creator's, but the caller must be allowed to create it.
        return firing.run_now(cron, caller=allow_run_now(self.request, cron))

    @extend_schema(request=PreviewRequest, responses={200: PreviewBody, 422: INVALID})
    def preview(self, request: Request) -> Response:
        """Describe a schedule in words, with its next dates."""
        self.authorize(searched(valid(CronFilter, {}), *FILTERS))
        query = valid(PreviewRequest, request.data)
        schedule, timezone = query["schedule"], query["timezone"]
        coming = slots(schedule, timezone, after=services.database_now())
        return Response(
            {
                "schedule": schedule,
                "timezone": timezone,
                "description": describe(schedule),
                "next_run_dates": [slot_text(s) for s in islice(coming, PREVIEWED)],
            }
        )

    def _to_change(self, changes: CronChanges) -> tuple[Cron, CronChanges]:
        """The cron, and its changes as the policy allows them."""
        value = {
            "cron_id": self.path_id,
            "payload": changes.fields,
            "schedule": changes.fields.get("schedule"),
            "metadata": changes.metadata,
        }
        allowed = self.authorize(value)
        cron = self.get_object()
        return cron, CronChanges(allowed.value["payload"], allowed.value["metadata"])


def _until_unchanged(act: Callable[[], T]) -> T:
    """Retry the authorization and the action if the cron was changed in between."""
    for _ in range(MAX_TRIES - 1):
        with suppress(services.ChangedMeanwhile):
            return act()
    return act()


def _order(query: dict[str, Any]) -> list[Any]:
    name = "id" if query["sort_by"] == "cron_id" else query["sort_by"]
    # Only for nullable fields: an index without NULLS LAST would not be used.
    last = True if Cron._meta.get_field(name).null else None
    if query["sort_order"] == "asc":
        return [F(name).asc(nulls_last=last), "id"]
    return [F(name).desc(nulls_last=last), "id"]
