"""The state and the history of a thread, over HTTP."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from spool.threads import state
from spool.threads.answers import STATE, UpdatedStateBody
from spool.threads.serializers import (
    CheckpointStateBody,
    HistoryBody,
    HistoryQuery,
    StateQuery,
    StateUpdateBody,
)
from spool.threads.state_form import state_json
from spool.threads.thread_request import NEWEST, CheckpointRef
from spool.threads.updates import state_update, update_state
from spool.threads.views import ERRORS, OneThreadViewSet
from spool.web.answers import error, list_of
from spool.web.bodies import valid, valid_body
from spool.web.errors import BadRequest


class ThreadStateViewSet(OneThreadViewSet):
    """The state and the history of one thread."""

    events = {
        "retrieve": "threads.read",
        "at_checkpoint": "threads.read",
        "from_checkpoint": "threads.read",
        "update": "threads.update",
        "history": "threads.read",
    }

    @extend_schema(parameters=[StateQuery], responses={200: STATE, **ERRORS})
    def retrieve(self, request: Request, thread_id: str) -> Response:
        return self._state(request, NEWEST)

    @extend_schema(
        operation_id="threads_state_at_checkpoint",
        parameters=[StateQuery],
        responses={200: STATE, **ERRORS},
    )
    def at_checkpoint(
        self, request: Request, thread_id: str, checkpoint_id: str
    ) -> Response:
        return self._state(request, CheckpointRef(checkpoint_id))

    @extend_schema(request=CheckpointStateBody, responses={200: STATE, **ERRORS})
    def from_checkpoint(self, request: Request, thread_id: str) -> Response:
        query = valid_body(request, CheckpointStateBody)
        thread = self.get_object()
        snapshot = state.get_state(
            thread, checkpoint=query["checkpoint"], subgraphs=query["subgraphs"]
        )
        return Response(state_json(snapshot, query["select"]))

    @extend_schema(
        request=StateUpdateBody,
        responses={
            200: UpdatedStateBody,
            400: error("An update that the graph refuses, or a thread without a graph"),
            409: error("A run of the thread is active"),
            **ERRORS,
        },
    )
    def update(self, request: Request, thread_id: str) -> Response:
        try:
            query = valid_body(request, StateUpdateBody)
        except ValidationError as exc:  # Elsewhere a wrong shape is a 422, here a 400.
            fields = cast("dict[str, list[str]]", exc.detail).items()
            raise BadRequest("; ".join(f"{k}: {v[0]}" for k, v in fields)) from None
        thread = self.get_object()
        checkpoint = query["checkpoint"] or CheckpointRef(query["checkpoint_id"])
        step = [state_update(query["values"], query["as_node"])]
        named = update_state(thread, [step], checkpoint)["configurable"]
        keys = ("thread_id", "checkpoint_ns", "checkpoint_id")
        updated = {key: named.get(key) for key in keys}
        if named.get("checkpoint_map"):  # Of a subgraph's state.
            updated["checkpoint_map"] = named["checkpoint_map"]
        return Response(
            {
                "checkpoint": updated,
                "configurable": updated,
                "checkpoint_id": updated["checkpoint_id"],
            }
        )

    @extend_schema(methods=["GET"], parameters=[HistoryQuery])
    @extend_schema(methods=["POST"], request=HistoryBody)
    @extend_schema(responses={200: list_of(STATE), **ERRORS})
    def history(self, request: Request, thread_id: str) -> Response:
        if request.method == "GET":
            query, default = _valid_query(request, HistoryQuery), 10
        else:
            query, default = valid_body(request, HistoryBody), 1
        thread = self.get_object()
        snapshots = state.get_history(
            thread,
            limit=query["limit"] or default,
            before=query["before"],
            metadata=query.get("metadata"),
            checkpoint=query.get("checkpoint") or NEWEST,
        )
        return Response([state_json(one, query["select"]) for one in snapshots])

    def _state(self, request: Request, checkpoint: CheckpointRef) -> Response:
        query = _valid_query(request, StateQuery)
        thread = self.get_object()
        snapshot = state.get_state(
            thread, checkpoint=checkpoint, subgraphs=query["subgraphs"]
        )
        return Response(state_json(snapshot, query["select"]))


def _valid_query(request: Request, query: Any) -> dict[str, Any]:
    # The Python client writes `name=` for None.
    given = request.query_params.copy()
    for name, values in request.query_params.lists():
        if not any(values):
            del given[name]
    return valid(query, given)
