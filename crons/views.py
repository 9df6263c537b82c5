"""Crons over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import F
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.policy import authorize
from spool.access.views import OwnedViewSet
from spool.assistants.services import assistant_id_of
from spool.crons import firing, services
from spool.crons.creator import Creator
from spool.crons.models import Cron, CronQuerySet
from spool.crons.schedule import describe, slots
from spool.crons.serializers import (
    CronBody,
    CronFilter,
    CronPatch,
    CronRequest,
    CronSearch,
    FiringBody,
    PageQuery,
    PreviewBody,
    PreviewRequest,
    cron_json,
    firing_json,
    slot_text,
)
from spool.database.ids import uuid7
from spool.runs.models import Run
from spool.runs.serializers import (
    RunBody,
    added_by_policy,
    create_run_value,
    run_json,
)
from spool.web.bodies import path_uuid, valid
from spool.web.errors import BadRequest, Unprocessable
from spool.web.pagination import rows_of_page, searched

T = TypeVar("T")

PREVIEWED = 10
# The maximum of tries if a cron keeps changing while the policy is asked.
MAX_TRIES = 10
# The filters of a search that the policy gets.
FILTERS = ("assistant_id", "thread_id", "metadata")

ERRORS = {
    404: OpenApiResponse(description="No such cron, thread or assistant"),
    422: OpenApiResponse(description="A field that is not valid, named"),
}


class CronViewSet(OwnedViewSet[Cron]):
    """Runs that start by the clock."""

    lookup_url_kwarg = "cron_id"
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

    @extend_schema(request=CronRequest, responses={200: CronBody, **ERRORS})
    def create(self, request: Request, thread_id: str | None = None) -> Response:
        thread = path_uuid(thread_id, "thread") if thread_id else None
        asked = valid(CronRequest, request.data)
        cron_id = uuid7()
        creator = self._creator(asked, request.data, cron_id, thread)
        cron = services.create_cron(
            cron_id=cron_id,
            creator=creator,
            thread_id=thread,
            request=asked,
            payload=dict(request.data),
        )
        return Response(cron_json(cron))

    def _creator(
        self, asked: dict[str, Any], payload: Any, cron_id: UUID, thread: UUID | None
    ) -> Creator:
        """Check that the caller may create this cron, and the runs that it will create.

        All stamps are written into the same metadata, which the runs get too.
        """
        of_cron = {
            "payload": payload,
            "schedule": asked["schedule"],
            "cron_id": cron_id,
            "thread_id": thread,
            "user_id": None,
            "end_time": asked["end_time"],
            "metadata": asked["metadata"],
        }
        self.authorize(of_cron)
        return self._maker(asked, thread, asked["metadata"])

    def _maker(
        self, asked: dict[str, Any], thread: UUID | None, metadata: dict[str, Any]
    ) -> Creator:
        """Check that the caller may create such runs; `metadata` gets their stamp."""
        given = dict(asked["config"].get("configurable") or {})
        assistant = {"assistant_id": assistant_id_of(asked["assistant_id"])}
        of_runs = create_run_value(asked, thread_id=thread, run_id=None, **assistant)
        of_runs["metadata"] = metadata
        threads = authorize(self.request, "threads.create_run", of_runs)
        config = of_runs["kwargs"].get("config")
        asked["config"], added = added_by_policy(config, given)
        return Creator(
            threads=threads,
            assistants=authorize(self.request, "assistants.read", assistant),
            configurable=added,
        )

    @extend_schema(responses={200: CronBody, **ERRORS})
    def retrieve(self, request: Request, cron_id: str) -> Response:
        return Response(cron_json(self.get_object()))

    @extend_schema(
        request=CronPatch,
        responses={
            200: CronBody,
            400: OpenApiResponse(description="An empty body"),
            409: OpenApiResponse(description="Somebody else changed it meanwhile"),
            **ERRORS,
        },
    )
    def partial_update(self, request: Request, cron_id: str) -> Response:
        changes = request.data
        if not isinstance(changes, dict):
            raise Unprocessable("the body must be an object")
        if not changes:
            raise BadRequest("Request body cannot be empty")
        metadata = changes.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise Unprocessable("metadata: must be an object")
        change = partial(self._change, changes, metadata)
        return Response(cron_json(_until_unchanged(change)))

    def _change(self, changes: dict[str, Any], metadata: dict[str, Any]) -> Cron:
        stamp = dict(metadata)
        cron = self._to_change(changes, stamp)
        editor = None
        # A change of the schedule creates runs too, so it needs that permission.
        if changes != services.STOPS:
            asked = services.changed_request(cron, changes)
            of_runs = services.changed_metadata(cron, stamp)
            editor = self._maker(asked, cron.thread_id, of_runs)
            # Keep only stamped keys that the client sent: the rest of the creator's
            # metadata stays, and a stamp can't be forged.
            stamp = {key: of_runs[key] for key in stamp.keys() & of_runs.keys()}
        return services.update_cron(
            cron=cron, changes=changes, stamp=stamp, editor=editor
        )

    @extend_schema(responses={204: None, **ERRORS})
    def destroy(self, request: Request, cron_id: str) -> Response:
        services.delete_cron(self.get_object())
        return Response(status=204)

    @extend_schema(request=CronSearch, responses={200: CronBody(many=True), **ERRORS})
    def search(self, request: Request) -> Response:
        asked = valid(CronSearch, request.data)
        found = self._matching(asked).order_by(*_order(asked))
        rows = [cron_json(cron) for cron in self.page_of(found, asked)]
        if names := asked["select"]:
            rows = [{name: row[name] for name in names} for row in rows]
        return self.get_paginated_response(rows)

    @extend_schema(request=CronFilter, responses={200: int, **ERRORS})
    def count(self, request: Request) -> Response:
        return Response(self._matching(valid(CronFilter, request.data)).count())

    def _matching(self, asked: dict[str, Any]) -> CronQuerySet:
        self.authorize(searched(asked, *FILTERS))
        found = self.get_queryset()
        for name in ("assistant_id", "thread_id"):
            if asked[name]:
                found = found.filter(**{name: asked[name]})
        if asked["enabled"] is not None:
            found = found.filter(enabled=asked["enabled"])
        if asked["metadata"]:
            found = found.filter(metadata__contains=asked["metadata"])
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
        request=None,
        responses={
            200: RunBody,
            409: OpenApiResponse(
                description="The thread is busy, and the cron rejects; "
                "or somebody changed the cron meanwhile"
            ),
            **ERRORS,
        },
    )
    def run(self, request: Request, cron_id: str) -> Response:
        """Create the cron's run now, independent of its schedule."""
        run = _until_unchanged(self._run_now)
        path = f"/threads/{run.thread_id}/runs/{run.id}"
        return Response(run_json(run), headers={"Content-Location": path})

    def _run_now(self) -> Run:
        cron = self._to_change({}, {})
        # It is the creator's run, but the caller must be allowed to create it.
        asked, stamped = services.run_request(cron), dict(cron.metadata)
        asker = self._maker(asked, cron.thread_id, stamped)
        return firing.run_now(cron, asker=asker)

    @extend_schema(request=PreviewRequest, responses={200: PreviewBody, **ERRORS})
    def preview(self, request: Request) -> Response:
        """Describe a schedule in words, with its next dates."""
        self.authorize(searched(valid(CronFilter, {}), *FILTERS))
        asked = valid(PreviewRequest, request.data)
        schedule, timezone = asked["schedule"], asked["timezone"]
        coming = slots(schedule, timezone, after=services.database_now())
        return Response(
            {
                "schedule": schedule,
                "timezone": timezone,
                "description": describe(schedule),
                "next_run_dates": [slot_text(s) for s in islice(coming, PREVIEWED)],
            }
        )

    def _to_change(self, changes: dict[str, Any], metadata: dict[str, Any]) -> Cron:
        """The cron, if the caller may change it so; `metadata` gets the stamp."""
        self.authorize(
            {
                "cron_id": self.path_id,
                "payload": changes,
                "schedule": changes.get("schedule"),
                "metadata": metadata,
            }
        )
        return self.get_object()

    def get_policy_value(self) -> dict[str, Any]:
        return {"cron_id": self.path_id}


def _until_unchanged(act: Callable[[], T]) -> T:
    """Retry the authorization and the action if the cron was changed in between."""
    for _ in range(MAX_TRIES - 1):
        with suppress(services.ChangedMeanwhile):
            return act()
    return act()


def _order(asked: dict[str, Any]) -> list[Any]:
    name = "id" if asked["sort_by"] == "cron_id" else asked["sort_by"]
    # Only for nullable fields: an index without NULLS LAST would not be used.
    last = True if Cron._meta.get_field(name).null else None
    if asked["sort_order"] == "asc":
        return [F(name).asc(nulls_last=last), "id"]
    return [F(name).desc(nulls_last=last), "id"]
