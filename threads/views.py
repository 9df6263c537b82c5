"""Threads over HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.policy import Scope, authorize
from spool.access.views import OwnedViewSet
from spool.assistants.graphs import registry
from spool.database.ids import uuid7
from spool.threads import checkpoint_rows, rows, services, updates
from spool.threads.answers import (
    FOUND,
    CopiedThreadBody,
    PrunedBody,
    StorageBody,
    ThreadBody,
)
from spool.threads.models import Thread, ThreadQuerySet
from spool.threads.serializers import (
    COLUMNS,
    Prune,
    ThreadCreate,
    ThreadFilter,
    ThreadSearch,
    ThreadUpdate,
    extracted,
    root_of,
    selected_json,
    thread_json,
)
from spool.threads.thread_request import NewThread, ThreadChanges, ThreadQuery
from spool.web.answers import INVALID, PAGE_HEADERS, error, list_of
from spool.web.bodies import valid_body
from spool.web.errors import BadRequest, Conflict, NotFound
from spool.web.pagination import searched
from spool.web.rest import json_response

ERRORS = {404: error("No such thread"), 422: INVALID}


FILTERS = ("metadata", "values", "status")


class OneThreadViewSet(OwnedViewSet[Thread]):
    """The base of viewsets whose paths name a thread."""

    lookup_url_kwarg = "thread_id"
    uuids_in_path = ("thread_id",)
    not_found_text = "Thread with ID {id} not found"

    def get_queryset(self) -> ThreadQuerySet:
        return Thread.objects.visible_to(self.get_scope())


class ThreadViewSet(OneThreadViewSet):
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
    not_found_texts = {"partial_update": "Not Found"}

    @extend_schema(
        request=ThreadCreate,
        responses={
            200: ThreadBody,
            201: error("The thread was created, but its state could not be set"),
            400: error("Supersteps that the graph refuses"),
            409: error("A thread has this id already"),
            **ERRORS,
        },
    )
    def create(self, request: Request) -> HttpResponse:
        body = valid_body(request, ThreadCreate)
        allowed = self.authorize(
            {
                "thread_id": body["thread_id"] or uuid7(),
                "metadata": body["metadata"],
                "if_exists": body["if_exists"],
            }
        )
        new = NewThread(
            id=allowed.value["thread_id"],
            metadata=allowed.value["metadata"],
            ttl=body["ttl"],
            if_exists=body["if_exists"],
        )
        thread, is_new = services.create_thread(allowed.scope, new)
        if not is_new or not body["supersteps"]:
            return json_response(thread)
        return self._replay(new.id, body["supersteps"])

    def _replay(
        self, thread_id: UUID, supersteps: list[list[dict[str, Any]]]
    ) -> Response:
        """Give a new thread its state. The thread is kept even if that fails.

        Responds with 400 if the graph refuses the state, and 201 if there is no graph.
        """
        threads = Thread.objects.filter(pk=thread_id)
        if (thread := threads.first()) is None:  # Deleted since it was created.
            raise NotFound(self.not_found_text.format(id=thread_id))
        try:
            steps = [[updates.state_update(**u) for u in step] for step in supersteps]
            updates.update_state(thread, steps)
        except APIException as exc:
            if thread.metadata.get("graph_id") in registry().graph_ids:
                raise
            problem = (
                f"Thread {thread.id} was created, but there were problems updating "
                f"the state: {exc.detail}"
            )
            return Response({"detail": problem}, status=201)
        if (made := threads.first()) is None:
            raise NotFound(self.not_found_text.format(id=thread_id))
        return Response(thread_json(made))

    @extend_schema(
        request=ThreadSearch,
        parameters=PAGE_HEADERS,
        responses={
            200: list_of(FOUND),
            400: error("An id that is not a UUID"),
            422: INVALID,
        },
    )
    def search(self, request: Request) -> HttpResponse:
        body = valid_body(request, ThreadSearch)
        ids = [_searched_id(text) for text in body["ids"]]
        allowed = self.authorize({**searched(body, *FILTERS), "ids": ids or None})
        names, scope = body["select"], self.get_scope()
        query = _query(body, allowed.value)
        if body["extract"]:
            found = _extracted(body, self._page(query))
        elif scope.is_plain:
            found = rows.search(scope, query, names)
        else:
            found = rows.bodies(self._page(query), names)
        page = self.paginator.cut(found, body["limit"], body["offset"])
        return json_response(page, self.paginator.headers)

    def _page(self, query: ThreadQuery) -> ThreadQuerySet:
        """As `rows.search`, for queries that its statement does not support."""
        threads = self.get_queryset().matching(
            query.metadata, query.values, query.status
        )
        if query.ids:
            threads = threads.filter(pk__in=query.ids)
        threads = threads.in_order(query.sort_by, descending=query.descending)
        return threads[query.offset : query.offset + query.limit + 1]

    @extend_schema(request=ThreadFilter, responses={200: int, 422: INVALID})
    def count(self, request: Request) -> Response:
        body = valid_body(request, ThreadFilter)
        allowed = self.authorize({**searched(body, *FILTERS), "ids": None})
        filters = [allowed.value[name] for name in FILTERS]
        return Response(self.get_queryset().matching(*filters).count())

    @extend_schema(request=Prune, responses={200: PrunedBody, 422: INVALID})
    def prune(self, request: Request) -> Response:
        body = valid_body(request, Prune)
        threads = Thread.objects.visible_to(self._scope_of(body["thread_ids"]))
        return Response(
            {"pruned_count": services.prune_threads(threads, body["strategy"])}
        )

    def _scope_of(self, thread_ids: list[UUID]) -> Scope:
        """The scope for these threads. The policy is called for each, with its id."""
        ids: defaultdict[Q, list[UUID]] = defaultdict(list)
        for thread_id in dict.fromkeys(thread_ids):
            ids[self.authorize({"thread_id": thread_id}).scope.rows].append(thread_id)
        nothing = Q(pk__in=[])
        return Scope(rows=reduce(or_, (Q(r, pk__in=ids[r]) for r in ids), nothing))

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "include", str, enum=["ttl"], description="Additional fields"
            )
        ],
        responses={200: ThreadBody, **ERRORS},
    )
    def retrieve(self, request: Request, thread_id: str) -> HttpResponse:
        # Read without an instance, since this is requested most of all.
        with_ttl = "ttl" in _included(request)
        row = rows.find(self.get_scope(), self.path_id, with_ttl=with_ttl)
        if row is None:
            raise self.not_found()
        return json_response(row)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "Prefer",
                str,
                OpenApiParameter.HEADER,
                description="`return=minimal` for an answer without a body",
            )
        ],
        request=ThreadUpdate,
        responses={200: ThreadBody, 204: None, **ERRORS},
    )
    def partial_update(self, request: Request, thread_id: str) -> Response:
        body = valid_body(request, ThreadUpdate)
        value = {"thread_id": self.path_id, "metadata": body["metadata"]}
        allowed = self.authorize(value)
        threads = self.get_queryset().filter(pk=self.path_id)
        changes = ThreadChanges(allowed.value["metadata"], body["ttl"])
        changed = services.update_thread(threads, changes)
        if changed and "return=minimal" in request.headers.get("Prefer", ""):
            return Response(status=204)
        # The thread may have been deleted in between.
        if not changed:
            raise self.not_found()
        return Response(thread_json(self.get_object()))

    @extend_schema(responses={204: None, **ERRORS})
    def destroy(self, request: Request, thread_id: str) -> Response:
        self.authorize({"thread_id": self.path_id})
        if not services.delete_threads(self.get_queryset().filter(pk=self.path_id)):
            raise self.not_found()
        return Response(status=204)

    @extend_schema(
        request=None,
        responses={
            200: CopiedThreadBody,
            409: error("No such thread, or it is being changed"),
            422: INVALID,
        },
    )
    def copy(self, request: Request, thread_id: str) -> Response:
        try:
            source = self.get_object()
        except NotFound:
            raise Conflict from None
        ids = {"thread_id": source.id, "if_exists": "raise"}
        value = {**ids, "metadata": source.metadata}
        allowed = authorize(request, "threads.create", value)
        copy = services.copy_thread(source, allowed.value["metadata"])
        if copy is None:
            raise Conflict
        row = thread_json(copy)
        del row["values"]
        return Response(row)

    @extend_schema(responses={200: StorageBody, **ERRORS})
    def storage(self, request: Request, thread_id: str) -> Response:
        return Response(checkpoint_rows.storage(self.get_object().id))


def _query(body: Mapping[str, Any], allowed: Mapping[str, Any]) -> ThreadQuery:
    """The query of a search. `allowed` is its value, as the policy allows it."""
    sort_by = body["sort_by"]
    return ThreadQuery(
        **{name: allowed[name] for name in FILTERS},
        ids=allowed["ids"] or (),
        sort_by="id" if sort_by == "thread_id" else sort_by,
        descending=body["sort_order"] == "desc",
        limit=body["limit"],
        offset=body["offset"],
    )


def _extracted(body: dict[str, Any], threads: ThreadQuerySet) -> list[dict[str, Any]]:
    """The bodies of a search's threads, with the values that `extract` selects."""
    names: list[str] = body["select"]
    if names:
        # States may be megabytes: read only those that are selected.
        roots = {root_of(path) for path in body["extract"].values()}
        columns = {*(COLUMNS[name] for name in names), *roots}
        if "interrupts" in columns:
            columns.add("interrupt_order")
        threads = threads.only("id", *columns)
    return [
        (selected_json(thread, names) if names else thread_json(thread))
        | {"extracted": extracted(thread, body["extract"])}
        for thread in threads
    ]


def _searched_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest(f"Invalid thread ID {text}") from None


def _included(request: Request) -> set[str]:
    """Parse `include`, which clients repeat, join by commas, or send as JSON."""
    if not request.META.get("QUERY_STRING"):
        return set()
    return {
        name.strip(' "')
        for text in request.query_params.getlist("include")
        for name in text.strip("[]").split(",")
    }
