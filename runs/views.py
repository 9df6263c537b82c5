"""Runs over HTTP. Streams run on the event loop, see `runs.streaming.run_stream`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.policy import authorize
from spool.access.views import OwnedViewSet
from spool.runs import rows, services
from spool.runs.models import Run, RunQuerySet
from spool.runs.requests import allow_run
from spool.runs.run_request import AllowedRun, RunRequest
from spool.runs.serializers import (
    COLUMNS,
    NOTHING,
    OUTPUT,
    RUN,
    BulkCancel,
    RunBody,
    RunListQuery,
    RunRequestSerializer,
    StreamQuery,
    ThreadStreamQuery,
    parse_run_request,
    run_json,
)
from spool.runs.streaming import fanout, run_stream, thread_stream
from spool.runs.streaming.events import generation, newest_id, parse_id
from spool.runs.streaming.run_stream import NEVER, RunStream
from spool.runs.streaming.thread_stream import ThreadStream
from spool.runs.timeline import TimelineBody, timeline_of
from spool.threads.models import Thread
from spool.threads.views import OneThreadViewSet
from spool.web import inside
from spool.web.answers import (
    CONTENT_LOCATION,
    EVENT_STREAM,
    EVENTS,
    INVALID,
    LAST_EVENT_ID,
    LOCATION,
    error,
    list_of,
)
from spool.web.bodies import path_uuid, valid
from spool.web.errors import Conflict, NotFound, Unprocessable
from spool.web.pagination import rows_of_page
from spool.web.rest import json_response
from spool.webhooks import addresses

ENQUEUE = Run.MultitaskStrategy.ENQUEUE
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

ERRORS = {
    400: error("A request that contradicts itself"),
    404: error("No such thread, run or assistant"),
    422: INVALID,
}
CONFLICT_ERRORS = {**ERRORS, 409: error("The thread is busy")}
STREAM = {EVENT_STREAM: EVENTS}
ACTION = OpenApiParameter("action", str, enum=Run.CancelAction.values)
LATER = [CONTENT_LOCATION, LOCATION]


class WaitsForItself(Conflict):
    default_detail = (
        "A run can't wait for its own thread: another run of the thread begins when "
        "this one has ended."
    )


class RunViewSet(OwnedViewSet[Run]):
    """Runs of a thread, and stateless runs, each with its own thread."""

    lookup_url_kwarg = "run_id"
    uuids_in_path = ("run_id", "thread_id")
    not_found_texts = {
        "destroy": "Run not found",
        "cancel": "No runs found to cancel.",
        "cancel_many": "No runs found to cancel.",
    }
    events = {
        "create": "threads.create_run",
        "stream": "threads.create_run",
        "wait": "threads.create_run",
        "batch": "threads.create_run",
        "list": "threads.search",
        "retrieve": "threads.read",
        "timeline": "threads.read",
        "destroy": "threads.delete",
        "join": "threads.read",
        "join_stream": "threads.read",
        "cancel": "threads.update",
        "cancel_many": "threads.update",
    }

    @property
    def thread_id(self) -> UUID | None:
        """The thread in the path. Raises 422 if it is not a UUID."""
        given = self.kwargs.get("thread_id")
        return path_uuid(given, "thread") if given else None

    def get_policy_value(self) -> dict[str, Any]:
        ids = {"thread_id": self.thread_id, "run_id": self.path_id}
        return {**ids, "metadata": {}}

    def get_queryset(self) -> RunQuerySet:
        return self._of_thread(Run.objects.visible_to(self.get_scope()))

    def _of_thread(self, runs: RunQuerySet) -> RunQuerySet:
        return runs.filter(thread=self.thread_id) if self.thread_id else runs

    # --- Creating runs --------------------------------------------------------------
    @extend_schema(
        parameters=[CONTENT_LOCATION],
        request=RunRequestSerializer,
        responses={200: RunBody, **CONFLICT_ERRORS},
    )
    def create(self, request: Request, thread_id: str | None = None) -> HttpResponse:
        run = services.create_run(self._allow(request.data, thread_id))
        return json_response(run_json(run), {"Content-Location": _path(run)})

    @extend_schema(
        parameters=LATER,
        request=RunRequestSerializer,
        responses={**STREAM, **CONFLICT_ERRORS},
    )
    def stream(
        self, request: Request, thread_id: str | None = None
    ) -> StreamingHttpResponse:
        run, stream = self._create_followed(request.data, thread_id)
        return _sse(run_stream.sse(stream), _path(run, stateless=thread_id is None))

    @extend_schema(
        parameters=LATER,
        request=RunRequestSerializer,
        responses={200: OUTPUT, **CONFLICT_ERRORS},
    )
    def wait(
        self, request: Request, thread_id: str | None = None
    ) -> StreamingHttpResponse:
        run, stream = self._create_followed(request.data, thread_id)
        return _json_later(run_stream.wait(stream), run)

    @extend_schema(
        request=RunRequestSerializer(many=True),
        responses={200: RunBody(many=True), **CONFLICT_ERRORS},
    )
    def batch(self, request: Request) -> Response:
        if not isinstance(request.data, list) or not request.data:
            raise Unprocessable("the body must be a list of at least one run")
        run_requests = [parse_run_request(body) for body in request.data]
        _check_webhooks(run_requests)
        allowed = [allow_run(request, one, None) for one in run_requests]
        return Response([run_json(run) for run in services.create_runs(allowed)])

    def _create_followed(
        self, body: Any, thread_id: str | None
    ) -> tuple[Run, RunStream]:
        """Create a run. Returns it with the stream that its client receives."""
        allowed = self._allow(body, thread_id, has_client=True)
        request, expected, after = allowed.request, None, NEVER
        if found := fanout.expect(allowed.run_id):
            address, expected = found
            allowed = replace(allowed, request=replace(request, reply_to=address))
        else:
            after = _before_new_run(allowed.thread_id)
        try:
            run = services.create_run(allowed)
        except BaseException:
            fanout.forget(allowed.run_id)
            raise
        stream = RunStream(
            run.thread_id,
            run.id,
            after=after,
            with_ids=request.stream_resumable,
            is_new=True,
            expected=expected,
            on_disconnect=_canceller(run, request.on_disconnect == "cancel"),
            ends_with_client=request.ends_with_client,
        )
        return run, stream

    def _allow(
        self, body: Any, thread_id: str | None, *, has_client: bool = False
    ) -> AllowedRun:
        """Authorize the requested run.

        `has_client`: a client waits for the run's events or its result.
        """
        parsed = path_uuid(thread_id, "thread") if thread_id else None
        run_request = parse_run_request(body)
        if has_client and run_request.on_disconnect == "cancel":
            run_request = replace(run_request, ends_with_client=True)
        _check_webhooks([run_request])
        if has_client and run_request.multitask_strategy == ENQUEUE:
            _check_wait(self.request, parsed)
        run_class = Run.RunClass.INTERACTIVE
        if self.action == "create":
            run_class = Run.RunClass.BACKGROUND
        return allow_run(self.request, run_request, parsed, run_class=run_class)

    # --- Reading runs ---------------------------------------------------------------
    @extend_schema(parameters=[RunListQuery], responses={200: list_of(RUN), **ERRORS})
    def list(self, request: Request, thread_id: str) -> Response:
        query = valid(RunListQuery, request.query_params)
        found = path_uuid(thread_id, "thread")
        read = authorize(request, "threads.read", {"thread_id": found})
        self.authorize({"thread_id": found, "metadata": {}})
        if not Thread.objects.visible_to(read.scope).filter(pk=found).exists():
            raise NotFound(f"Thread with ID {found} not found")
        runs = self.get_queryset().newest_first()
        if query["status"]:
            runs = runs.filter(status=query["status"])
        names = query["select"] or COLUMNS
        # A run's input may be megabytes: read it only if it is selected.
        columns = {COLUMNS[name] for name in names}
        runs = runs.only(*columns, *(["given"] if "kwargs" in columns else []))
        page = rows_of_page(runs, query)
        return Response([run_json(run, names) for run in page])

    @extend_schema(responses={200: RunBody, **ERRORS})
    def retrieve(
        self, request: Request, run_id: str, thread_id: str | None = None
    ) -> HttpResponse:
        # Read without an instance, since clients poll it.
        body = rows.find(self.get_scope(), self.path_id, self.thread_id)
        if body is None:
            raise self.not_found()
        return json_response(body)

    @extend_schema(responses={200: TimelineBody, **ERRORS})
    def timeline(
        self, request: Request, run_id: str, thread_id: str | None = None
    ) -> Response:
        """What happened in the run: its attempts, their steps, durations and tokens."""
        return Response(timeline_of(self.get_object()))

    @extend_schema(responses={204: None, **ERRORS})
    def destroy(self, request: Request, thread_id: str, run_id: str) -> Response:
        services.delete_run(self.get_object())
        return Response(status=204)

    # --- Joining runs ---------------------------------------------------------------
    @extend_schema(
        parameters=[StreamQuery, *LATER], responses={200: OUTPUT, **CONFLICT_ERRORS}
    )
    def join(
        self, request: Request, thread_id: str, run_id: str
    ) -> StreamingHttpResponse:
        query = valid(StreamQuery, request.query_params)
        run = self._joinable()
        if run is None:
            return _json_later(run_stream.unknown_json())
        if not run.is_active:
            return _json_later(run_stream.current(run.id), run, query["again"])
        _check_wait(request, run.thread_id)
        stream = RunStream(
            run.thread_id,
            run.id,
            on_disconnect=_canceller(run, query["cancel_on_disconnect"]),
            ends_with_client="on_disconnect" in run.kwargs,
        )
        return _json_later(run_stream.wait(stream), run, query["again"])

    @extend_schema(
        parameters=[StreamQuery, LAST_EVENT_ID, *LATER],
        responses={**STREAM, **CONFLICT_ERRORS},
    )
    def join_stream(
        self, request: Request, run_id: str, thread_id: str | None = None
    ) -> StreamingHttpResponse:
        query = valid(StreamQuery, request.query_params)
        run = self._joinable()
        if run is None:
            return _sse(run_stream.unknown_sse(), None)
        try:
            after = _after(request.headers.get("Last-Event-ID"))
        except ValueError:
            return _sse(run_stream.nothing(), _path(run))
        if run.is_active:
            _check_wait(request, run.thread_id)
        stream = RunStream(
            run.thread_id,
            run.id,
            after=after,
            modes=query["modes"],
            with_ids=run.kwargs["resumable"],
            in_chunks=query["in_chunks"],
            on_disconnect=_canceller(run, query["cancel_on_disconnect"]),
            ends_with_client="on_disconnect" in run.kwargs,
        )
        path = _path(run, stateless=thread_id is None)
        return _sse(run_stream.sse(stream), path, query["again"])

    # --- Stopping runs --------------------------------------------------------------
    @extend_schema(
        parameters=[
            OpenApiParameter(
                "wait", str, description="`1`: wait until the run has stopped"
            ),
            ACTION,
        ],
        request=None,
        responses={200: NOTHING, 202: None, **ERRORS},
    )
    def cancel(
        self, request: Request, thread_id: str, run_id: str
    ) -> Response | StreamingHttpResponse:
        action = _action(request)
        self.authorize({**self.get_policy_value(), "action": action})
        run = self.get_object()
        if not services.cancel_run(run, action):
            raise NotFound(
                "No matching runs to cancel. Please verify the thread and run ids, and "
                "that the run has not finished."
            )
        if request.query_params.get("wait") not in ("1", "true", "True"):
            return Response(status=202)
        return _json_later(run_stream.stopped(RunStream(run.thread_id, run.id)), run)

    @extend_schema(
        parameters=[ACTION], request=BulkCancel, responses={204: None, **ERRORS}
    )
    def cancel_many(self, request: Request) -> Response:
        body, action = valid(BulkCancel, request.data), _action(request)
        thread_id = body["thread_id"]
        allowed = self.authorize(
            {"thread_id": thread_id, "metadata": {}, "action": action}
        )
        runs = Run.objects.visible_to(allowed.scope).active()
        if thread_id:
            runs = runs.filter(thread=thread_id, pk__in=body["run_ids"])
        elif body["status"] != "all":
            runs = runs.filter(status=body["status"])
        if not services.cancel_runs(runs, action):
            raise NotFound(self.not_found_texts[self.action])
        return Response(status=204)

    def _joinable(self) -> Run | None:
        runs = self._of_thread(Run.objects.joinable_by(self.get_scope()))
        return runs.filter(pk=self.path_id).first()


class ThreadStreamViewSet(OneThreadViewSet):
    """The events of all runs of a thread, including future runs."""

    events = {"stream": "threads.read"}

    @extend_schema(
        parameters=[ThreadStreamQuery, LAST_EVENT_ID, LOCATION],
        responses={**STREAM, **ERRORS},
    )
    def stream(self, request: Request, thread_id: str) -> StreamingHttpResponse:
        query = valid(ThreadStreamQuery, request.query_params)
        modes: frozenset[str] = query["modes"]
        found = self.path_id
        # Read the position before responding, so that runs that the client starts after
        # the response are included.
        after = _thread_position(found, request.headers.get("Last-Event-ID"))
        self.authorize({"thread_id": found})
        threads = self.get_queryset().filter(pk=found)
        created_at = threads.values_list("created_at", flat=True).first()
        if created_at is None:
            return _sse(thread_stream.unknown(found), None)
        stream = ThreadStream(found, generation(created_at), after, modes)
        response = _sse(thread_stream.sse(stream), None)
        response["Location"] = f"/threads/{found}/stream{query['again']}"
        return response


def _check_wait(request: Request, thread_id: UUID | None) -> None:
    """Refuse a run that would wait for a run of its own thread, or for itself."""
    origin = inside.origin_of(request)
    if isinstance(origin, inside.OfRun) and origin.thread_id == thread_id:
        raise WaitsForItself


def _check_webhooks(run_requests: Sequence[RunRequest]) -> None:
    """Check webhooks before anything is locked, since name servers may be slow."""
    urls = [one.webhook for one in run_requests if one.webhook]
    for url in urls:
        addresses.check(url)
    if urls:
        addresses.check_hosts(urls)


def _action(request: Request) -> str:
    action = request.query_params.get("action") or Run.CancelAction.INTERRUPT
    if action not in Run.CancelAction.values:
        raise Unprocessable("action must be interrupt or rollback")
    return action


def _after(last_event_id: str | None) -> tuple[int, int] | None:
    if not last_event_id:
        return None
    return NEVER if last_event_id in ("-1", "0") else parse_id(last_event_id)


def _thread_position(
    thread_id: UUID, last_event_id: str | None
) -> tuple[int, int] | None:
    if last_event_id is None:
        return newest_id(thread_id)
    if last_event_id in ("0", "-"):
        return NEVER
    try:
        return parse_id(last_event_id)
    except ValueError:
        raise Unprocessable(
            "Invalid last-event-id: must be a valid Redis stream ID"
        ) from None


def _canceller(run: Run, wanted: bool) -> Any:
    if not wanted:
        return None
    how = Run.CancelAction.INTERRUPT, Run.CLIENT_IS_GONE
    return partial(services.cancel_run, run, *how)


def _before_new_run(thread_id: UUID | None) -> tuple[int, int]:
    """The end of a thread's events now, so that events of earlier runs are not read."""
    return (newest_id(thread_id) if thread_id else None) or NEVER


def _path(run: Run, *, stateless: bool | None = None) -> str:
    """The path of the run. For a stateless run it does not name the thread."""
    if run.is_temporary if stateless is None else stateless:
        return f"/runs/{run.id}"
    return f"/threads/{run.thread_id}/runs/{run.id}"


def _sse(
    body: AsyncIterator[bytes], path: str | None, again: str = ""
) -> StreamingHttpResponse:
    response = StreamingHttpResponse(
        body, content_type="text/event-stream; charset=utf-8", headers=STREAM_HEADERS
    )
    if path:
        response["Location"] = f"{path}/stream{again}"
        response["Content-Location"] = path
    return response


def _json_later(
    body: AsyncIterator[bytes], run: Run | None = None, again: str = ""
) -> StreamingHttpResponse:
    response = StreamingHttpResponse(body, content_type="application/json")
    if run:
        path = _path(run, stateless=False)
        response["Location"] = f"{path}/join{again}"
        response["Content-Location"] = path
    return response
