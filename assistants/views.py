"""Assistants over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.policy import authorize
from spool.access.views import OwnedViewSet
from spool.assistants import hooks, schemas, services
from spool.assistants.assistant_request import UNCHANGED, AssistantChanges, NewAssistant
from spool.assistants.models import Assistant, AssistantQuerySet
from spool.assistants.serializers import (
    FOUND,
    SUBGRAPHS,
    AssistantBody,
    AssistantCreate,
    AssistantFilter,
    AssistantSearch,
    AssistantUpdate,
    GraphBody,
    GraphSchemasBody,
    SetLatest,
    VersionBody,
    VersionSearch,
    assistant_json,
    version_json,
)
from spool.web.answers import INVALID, PAGE_HEADERS, error, list_of
from spool.web.bodies import path_uuid, valid_body
from spool.web.errors import Unprocessable
from spool.web.fields import is_true
from spool.web.pagination import rows_of_page, searched

ERRORS = {404: error("No such assistant or graph"), 422: INVALID}
CONTRADICTION = error("Both config.configurable and context")


class AssistantViewSet(OwnedViewSet[Assistant]):
    lookup_url_kwarg = "assistant_id"
    uuids_in_path = ("assistant_id",)
    events = {
        "create": "assistants.create",
        "search": "assistants.search",
        "count": "assistants.search",
        "retrieve": "assistants.read",
        "partial_update": "assistants.update",
        "destroy": "assistants.delete",
        "versions": "assistants.read",
        "latest": "assistants.update",
        "graph": "assistants.read",
        "schemas": "assistants.read",
        "subgraphs": "assistants.read",
        "subgraphs_below": "assistants.read",
    }
    not_found_texts = {
        "partial_update": "Assistant {id} not found",
        "destroy": "Assistant with ID {id} not found",
        "versions": "Assistant {id} not found",
        "latest": "Assistant {id} not found",
    }

    @property
    def path_id(self) -> UUID:
        """The id in the path. A drawing may also be requested by its graph's id."""
        name = self.kwargs["assistant_id"]
        try:
            return path_uuid(name, "assistant")
        except Unprocessable:
            if self.action != "graph":
                raise
            return services.system_assistant_id(name)

    def get_queryset(self) -> AssistantQuerySet:
        return Assistant.objects.visible_to(self.get_scope())

    @extend_schema(
        request=AssistantCreate,
        responses={
            200: AssistantBody,
            400: CONTRADICTION,
            409: error("An assistant has this id already"),
            **ERRORS,
        },
    )
    def create(self, request: Request) -> Response:
        body = valid_body(request, AssistantCreate)
        allowed = self.authorize(
            {
                "assistant_id": body.get("assistant_id") or uuid4(),
                "config": body.get("config", {}),
                "context": body.get("context", {}),
                **{name: body.get(name) for name in ("graph_id", "name", "if_exists")},
                "metadata": body["metadata"],
            }
        )
        new = NewAssistant(
            id=allowed.value["assistant_id"],
            graph_id=body["graph_id"],
            name=body.get("name"),
            description=body.get("description"),
            config=allowed.value["config"],
            context=allowed.value["context"],
            metadata=allowed.value["metadata"],
            if_exists=body["if_exists"],
        )
        assistant = services.create_assistant(allowed.scope, new)
        return Response(assistant_json(assistant))

    @extend_schema(
        parameters=PAGE_HEADERS,
        request=AssistantSearch,
        responses={200: list_of(FOUND), 422: INVALID},
    )
    def search(self, request: Request) -> Response:
        body = valid_body(request, AssistantSearch)
        found = self._matching(body).in_order(
            "id" if body["sort_by"] == "assistant_id" else body["sort_by"],
            descending=body["sort_order"] == "desc",
        )
        rows = [assistant_json(one) for one in self.page_of(found, body)]
        if names := body["select"]:
            rows = [{name: row[name] for name in names} for row in rows]
        return self.get_paginated_response(rows)

    @extend_schema(request=AssistantFilter, responses={200: int, 422: INVALID})
    def count(self, request: Request) -> Response:
        body = valid_body(request, AssistantFilter)
        return Response(self._matching(body).count())

    @extend_schema(responses={200: AssistantBody, **ERRORS})
    def retrieve(self, request: Request, assistant_id: str) -> Response:
        return Response(assistant_json(self.get_object()))

    @extend_schema(
        request=AssistantUpdate,
        responses={200: AssistantBody, 400: CONTRADICTION, **ERRORS},
    )
    def partial_update(self, request: Request, assistant_id: str) -> Response:
        body = valid_body(request, AssistantUpdate)
        names = ("graph_id", "config", "context", "name", "metadata")
        value = {name: body[name] for name in names if name in body}
        allowed = self.authorize({"assistant_id": self.path_id, **value})
        changes = AssistantChanges(
            description=body.get("description", UNCHANGED),
            **{name: allowed.value[name] for name in value},
        )
        changed = services.update_assistant(self.get_queryset(), self.path_id, changes)
        if changed is None:
            raise self.not_found()
        return Response(assistant_json(changed))

    @extend_schema(
        parameters=[OpenApiParameter("delete_threads", bool)],
        responses={204: None, **ERRORS},
    )
    def destroy(self, request: Request, assistant_id: str) -> Response:
        self.authorize({"assistant_id": self.path_id})
        assistant = self.get_object()
        if is_true(request.query_params.get("delete_threads")):
            threads = authorize(request, "threads.delete", {"thread_id": None})
            hooks.delete_threads_of(assistant.id, threads.scope)
        services.delete_assistant(self.get_queryset(), assistant.id)
        return Response(status=204)

    @extend_schema(
        request=VersionSearch, responses={200: VersionBody(many=True), **ERRORS}
    )
    def versions(self, request: Request, assistant_id: str) -> Response:
        body = valid_body(request, VersionSearch)
        self.authorize({"assistant_id": self.path_id})
        versions = self.get_object().versions.order_by("-version")
        if body["metadata"]:
            versions = versions.filter(metadata__contains=body["metadata"])
        page = rows_of_page(versions, body)
        return Response([version_json(version) for version in page])

    @extend_schema(request=SetLatest, responses={200: AssistantBody, **ERRORS})
    def latest(self, request: Request, assistant_id: str) -> Response:
        body = valid_body(request, SetLatest)
        value = {**self.get_policy_value(), "version": body["version"]}
        metadata = self.authorize(value).value["metadata"]
        changed = services.set_latest(
            self.get_queryset(), self.path_id, body["version"], metadata
        )
        if changed is None:
            raise self.not_found()
        return Response(assistant_json(changed))

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "assistant_id",
                str,
                OpenApiParameter.PATH,
                description="An id, or a graph's name",
            ),
            OpenApiParameter(
                "xray", str, description="`true`, or the number of levels of subgraphs"
            ),
        ],
        responses={200: GraphBody, **ERRORS},
    )
    def graph(self, request: Request, assistant_id: str) -> Response:
        xray = schemas.parse_xray(request.query_params.get("xray"))
        return Response(
            schemas.drawable_graph(self.get_object(), self.get_scope(), xray)
        )

    @extend_schema(responses={200: GraphSchemasBody, **ERRORS})
    def schemas(self, request: Request, assistant_id: str) -> Response:
        return Response(schemas.graph_schemas(self.get_object(), self.get_scope()))

    @extend_schema(
        parameters=[OpenApiParameter("recurse", bool)],
        responses={200: SUBGRAPHS, **ERRORS},
    )
    def subgraphs(self, request: Request, assistant_id: str) -> Response:
        return self._subgraphs(None)

    @extend_schema(
        operation_id="assistants_subgraphs_below",
        parameters=[OpenApiParameter("recurse", bool)],
        responses={200: SUBGRAPHS, **ERRORS},
    )
    def subgraphs_below(
        self, request: Request, assistant_id: str, namespace: str
    ) -> Response:
        return self._subgraphs(namespace)

    def _subgraphs(self, namespace: str | None) -> Response:
        recurse = is_true(self.request.query_params.get("recurse"))
        assistant, scope = self.get_object(), self.get_scope()
        return Response(schemas.subgraph_schemas(assistant, scope, namespace, recurse))

    def _matching(self, body: dict[str, Any]) -> AssistantQuerySet:
        value = searched(body, "graph_id", "metadata")
        allowed = self.authorize({**value, "graph_id": body["graph_id"] or None})
        found = self.get_queryset()
        if metadata := allowed.value["metadata"]:
            found = found.filter(metadata__contains=metadata)
        if body["graph_id"]:
            found = found.filter(graph_id=body["graph_id"])
        if body["name"]:
            found = found.filter(name__icontains=body["name"])
        return found
