"""Threads over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.policy import Scope, authorize
from access.views import ScopedViewSet
from config.errors import BadRequest, Conflict, NotFound, Unprocessable
from config.ids import path_uuid
from config.pagination import page_of
from threads import checkpoints, services, state
from threads.models import Thread, ThreadQuerySet
from threads.serializers import (
    CheckpointStateBody,
    HistoryBody,
    HistoryQuery,
    Prune,
    StateQuery,
    StateUpdateBody,
    ThreadBody,
    ThreadCreate,
    ThreadFilter,
    ThreadSearch,
    ThreadUpdate,
    extracted,
    thread_json,
    ttl_json,
)

ERRORS = {
    404: OpenApiResponse(description="No such thread"),
    422: OpenApiResponse(description="A field that is not valid, named"),
}


class ThreadViewSet(ScopedViewSet):
    events = {
        "create": "threads.create",
        "search": "threads.search",
        "count": "threads.search",
        "prune": "threads.delete",
        "retrieve": "threads.read",
        "partial_update": "threads.update",
        "destroy": "threads.delete",
        "copy": "threads.read",
        "storage": "threads.read",
    }

    @extend_schema(
        request=ThreadCreate, responses={200: ThreadBody, 201: Any, 409: Any, **ERRORS}
    )
    def create(self, request: Request) -> Response:
        asked = _valid(ThreadCreate, request.data)
        value = {
            "thread_id": asked["thread_id"],
            "metadata": asked["metadata"],
            "if_exists": asked["if_exists"],
        }
        scope = self.scope(value)
        thread = services.create_thread(
            scope=scope,
            thread_id=asked["thread_id"],
            metadata=value["metadata"],
            ttl=asked["ttl"],
            if_exists=asked["if_exists"],
        )
        if not asked["supersteps"]:
            return Response(thread_json(thread))
        return self._replay(thread, asked["supersteps"])

    def _replay(
        self, thread: Thread, supersteps: list[list[dict[str, Any]]]
    ) -> Response:
        """Give a new thread its state. The thread stays where that fails: a 201."""
        steps = [
            [
                state.state_update(u.get("values"), u.get("as_node"), u.get("command"))
                for u in step
            ]
            for step in supersteps
        ]
        try:
            state.update_state(thread, steps)
        except (BadRequest, NotFound) as exc:
            problem = (
                f"Thread {thread.id} was created, but there were problems updating "
                f"the state: {exc.detail}"
            )
            return Response({"detail": problem}, status=201)
        thread.refresh_from_db()
        return Response(thread_json(thread))

    @extend_schema(
        request=ThreadSearch, responses={200: ThreadBody(many=True), **ERRORS}
    )
    def search(self, request: Request) -> Response:
        asked = _valid(ThreadSearch, request.data)
        value = {
            name: asked[name]
            for name in ("metadata", "values", "status", "limit", "offset")
        }
        threads = _matching(self.scope(value), asked)
        if asked["ids"]:
            threads = threads.filter(
                pk__in=[_searched_id(text) for text in asked["ids"]]
            )
        field = "id" if asked["sort_by"] == "thread_id" else asked["sort_by"]
        sign = "-" if asked["sort_order"] == "desc" else ""
        threads = threads.order_by(f"{sign}{field}", "id" if field != "id" else "pk")
        page, headers = page_of(threads, asked["limit"], asked["offset"])
        return Response([_row(thread, asked) for thread in page], headers=headers)

    @extend_schema(request=ThreadFilter, responses={200: int, **ERRORS})
    def count(self, request: Request) -> Response:
        asked = _valid(ThreadFilter, request.data)
        return Response(_matching(self.scope(dict(asked)), asked).count())

    @extend_schema(request=Prune, responses={200: Any, **ERRORS})
    def prune(self, request: Request) -> Response:
        asked = _valid(Prune, request.data)
        threads = Thread.objects.visible_to(self.scope({"thread_id": None}))
        threads = threads.filter(pk__in=asked["thread_ids"])
        return Response(
            {"pruned_count": services.prune_threads(threads, asked["strategy"])}
        )

    @extend_schema(responses={200: ThreadBody, **ERRORS})
    def retrieve(self, request: Request, thread_id: str) -> Response:
        thread = self._thread(thread_id)
        row = thread_json(thread)
        if "ttl" in _included(request):
            row["ttl"] = ttl_json(thread)
        return Response(row)

    @extend_schema(
        request=ThreadUpdate, responses={200: ThreadBody, 204: None, **ERRORS}
    )
    def partial_update(self, request: Request, thread_id: str) -> Response:
        asked = _valid(ThreadUpdate, request.data)
        value = {
            "thread_id": path_uuid(thread_id, "thread"),
            "metadata": asked["metadata"],
        }
        threads = Thread.objects.visible_to(self.scope(value)).filter(
            pk=value["thread_id"]
        )
        changed = services.update_thread(
            threads, metadata=value["metadata"], ttl=asked["ttl"]
        )
        if not changed:
            raise NotFound
        if "return=minimal" in request.headers.get("Prefer", ""):
            return Response(status=204)
        return Response(thread_json(threads.get()))

    @extend_schema(responses={204: None, **ERRORS})
    def destroy(self, request: Request, thread_id: str) -> Response:
        found = path_uuid(thread_id, "thread")
        threads = Thread.objects.visible_to(self.scope({"thread_id": found}))
        if not services.delete_thread(threads, found):
            raise _missing(found)
        return Response(status=204)

    @extend_schema(request=None, responses={200: ThreadBody, 409: Any, 422: Any})
    def copy(self, request: Request, thread_id: str) -> Response:
        try:
            source = self._thread(thread_id)
        except NotFound:
            raise Conflict from None
        metadata = dict(source.metadata)
        value = {"thread_id": source.id, "metadata": metadata}
        authorize(request, "threads.create", value)
        row = thread_json(services.copy_thread(source, metadata))
        del row["values"]
        return Response(row)

    @extend_schema(responses={200: Any, **ERRORS})
    def storage(self, request: Request, thread_id: str) -> Response:
        return Response(checkpoints.storage(self._thread(thread_id).id))

    def _thread(self, thread_id: str) -> Thread:
        return visible_thread(self, thread_id)


class ThreadStateViewSet(ScopedViewSet):
    """The state and the history of one thread."""

    events = {
        "retrieve": "threads.read",
        "at_checkpoint": "threads.read",
        "from_checkpoint": "threads.read",
        "update": "threads.update",
        "history": "threads.read",
    }

    @extend_schema(parameters=[StateQuery], responses={200: Any, **ERRORS})
    def retrieve(self, request: Request, thread_id: str) -> Response:
        return self._state(request, thread_id, None)

    @extend_schema(parameters=[StateQuery], responses={200: Any, **ERRORS})
    def at_checkpoint(
        self, request: Request, thread_id: str, checkpoint_id: str
    ) -> Response:
        return self._state(request, thread_id, {"checkpoint_id": checkpoint_id})

    @extend_schema(request=CheckpointStateBody, responses={200: Any, **ERRORS})
    def from_checkpoint(self, request: Request, thread_id: str) -> Response:
        asked = _valid(CheckpointStateBody, request.data)
        thread = visible_thread(self, thread_id)
        snapshot = state.get_state(
            thread, checkpoint=asked["checkpoint"], subgraphs=asked["subgraphs"]
        )
        return Response(state.state_json(snapshot, asked["select"]))

    @extend_schema(
        request=StateUpdateBody, responses={200: Any, 400: Any, 409: Any, **ERRORS}
    )
    def update(self, request: Request, thread_id: str) -> Response:
        body = StateUpdateBody(data=request.data)
        if not body.is_valid():
            raise BadRequest("; ".join(f"{k}: {v[0]}" for k, v in body.errors.items()))
        asked = body.validated_data
        thread = visible_thread(self, thread_id)
        checkpoint = asked["checkpoint"]
        if checkpoint is None and asked["checkpoint_id"]:
            checkpoint = {"checkpoint_id": asked["checkpoint_id"]}
        step = [state.state_update(asked["values"], asked["as_node"])]
        named = state.update_state(thread, [step], checkpoint)["configurable"]
        keys = ("thread_id", "checkpoint_ns", "checkpoint_id")
        updated = {key: named.get(key) for key in keys}
        return Response(
            {
                "checkpoint": updated,
                "configurable": updated,
                "checkpoint_id": updated["checkpoint_id"],
            }
        )

    @extend_schema(
        parameters=[HistoryQuery], request=HistoryBody, responses={200: Any, **ERRORS}
    )
    def history(self, request: Request, thread_id: str) -> Response:
        if request.method == "GET":
            asked, default = _valid(HistoryQuery, request.query_params), 10
        else:
            asked, default = _valid(HistoryBody, request.data), 1
        thread = visible_thread(self, thread_id)
        snapshots = state.get_history(
            thread,
            limit=asked["limit"] or default,
            before=asked["before"],
            metadata=asked.get("metadata"),
            checkpoint=asked.get("checkpoint"),
        )
        return Response([state.state_json(one, asked["select"]) for one in snapshots])

    def _state(
        self, request: Request, thread_id: str, checkpoint: dict[str, Any] | None
    ) -> Response:
        asked = _valid(StateQuery, request.query_params)
        thread = visible_thread(self, thread_id)
        snapshot = state.get_state(
            thread, checkpoint=checkpoint, subgraphs=asked["subgraphs"]
        )
        return Response(state.state_json(snapshot, asked["select"]))


def visible_thread(view: ScopedViewSet, thread_id: str) -> Thread:
    """The thread of a path, if the caller may see it; 404 otherwise."""
    found = path_uuid(thread_id, "thread")
    value = {"thread_id": found, "metadata": {}}
    thread = Thread.objects.visible_to(view.scope(value)).filter(pk=found).first()
    if thread is None:
        raise _missing(found)
    return thread


def _missing(thread_id: UUID) -> NotFound:
    return NotFound(f"Thread with ID {thread_id} not found")


def _matching(scope: Scope, asked: dict[str, Any]) -> ThreadQuerySet:
    threads = Thread.objects.visible_to(scope)
    if asked["metadata"]:
        threads = threads.filter(metadata__contains=asked["metadata"])
    if asked["values"]:
        threads = threads.filter(values__contains=asked["values"])
    if asked["status"]:
        threads = threads.filter(status=asked["status"])
    return threads


def _row(thread: Thread, asked: dict[str, Any]) -> dict[str, Any]:
    row = thread_json(thread)
    if asked["select"]:
        row = {name: row.get(name) for name in asked["select"]}
    if asked["extract"]:
        row["extracted"] = extracted(thread, asked["extract"])
    return row


def _searched_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest(f"Invalid thread ID {text}") from None


def _included(request: Request) -> set[str]:
    return {
        name
        for text in request.query_params.getlist("include")
        for name in text.split(",")
    }


def _valid(serializer: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise Unprocessable("the body must be a JSON object")
    checked = serializer(data=data)
    checked.is_valid(raise_exception=True)
    return checked.validated_data
