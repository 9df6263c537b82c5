"""Assistants over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.policy import Scope, authorize
from spool.access.views import ScopedViewSet
from spool.assistants import hooks, schemas, services
from spool.assistants.models import Assistant, AssistantQuerySet
from spool.assistants.serializers import (
    AssistantBody,
    AssistantCreate,
    AssistantFilter,
    AssistantSearch,
    AssistantUpdate,
    SetLatest,
    VersionSearch,
    assistant_json,
    version_json,
)
from spool.web.bodies import path_uuid, valid_body
from spool.web.errors import NotFound
from spool.web.fields import is_true
from spool.web.pagination import page_of, searched

ERRORS = {
    404: OpenApiResponse(description="No such assistant or graph"),
    422: OpenApiResponse(description="A field that is not valid, named"),
}


class AssistantViewSet(ScopedViewSet):
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

    @extend_schema(
        request=AssistantCreate,
        responses={200: AssistantBody, 400: Any, 409: Any, **ERRORS},
    )
    def create(self, request: Request) -> Response:
        asked = valid_body(request, AssistantCreate)
        value = {
            "assistant_id": asked.setdefault("assistant_id", uuid4()),
            "config": asked.get("config", {}),
            "context": asked.get("context", {}),
            **{name: asked.get(name) for name in ("graph_id", "name", "if_exists")},
            "metadata": asked["metadata"],
        }
        assistant = services.create_assistant(
            scope=self.scope(value), asked=asked, metadata=value["metadata"]
        )
        return Response(assistant_json(assistant))

    @extend_schema(
        request=AssistantSearch, responses={200: AssistantBody(many=True), **ERRORS}
    )
    def search(self, request: Request) -> Response:
        asked = valid_body(request, AssistantSearch)
        found = self._matching(asked).in_order(
            "id" if asked["sort_by"] == "assistant_id" else asked["sort_by"],
            descending=asked["sort_order"] == "desc",
        )
        page, headers = page_of(found, asked["limit"], asked["offset"])
        rows = [assistant_json(assistant) for assistant in page]
        if names := asked["select"]:
            rows = [{name: row[name] for name in names} for row in rows]
        return Response(rows, headers=headers)

    @extend_schema(request=AssistantFilter, responses={200: int, **ERRORS})
    def count(self, request: Request) -> Response:
        asked = valid_body(request, AssistantFilter)
        return Response(self._matching(asked).count())

    @extend_schema(responses={200: AssistantBody, **ERRORS})
    def retrieve(self, request: Request, assistant_id: str) -> Response:
        assistant, _ = self._found(path_uuid(assistant_id, "assistant"))
        return Response(assistant_json(assistant))

    @extend_schema(
        request=AssistantUpdate, responses={200: AssistantBody, 400: Any, **ERRORS}
    )
    def partial_update(self, request: Request, assistant_id: str) -> Response:
        changes = valid_body(request, AssistantUpdate)
        found = path_uuid(assistant_id, "assistant")
        names = ("graph_id", "config", "context", "name", "metadata")
        value = {name: changes[name] for name in names if name in changes}
        ours = self._visible({"assistant_id": found, **value})
        changed = services.update_assistant(
            ours, found, {**changes, "metadata": value["metadata"]}
        )
        if changed is None:
            raise NotFound(f"Assistant {found} not found")
        return Response(assistant_json(changed))

    @extend_schema(
        parameters=[OpenApiParameter("delete_threads", bool)],
        responses={204: None, **ERRORS},
    )
    def destroy(self, request: Request, assistant_id: str) -> Response:
        found = path_uuid(assistant_id, "assistant")
        ours = self._visible({"assistant_id": found})
        if not ours.filter(pk=found).exists():
            raise NotFound(f"Assistant with ID {found} not found")
        if is_true(request.query_params.get("delete_threads")):
            threads = authorize(request, "threads.delete", {"thread_id": None})
            hooks.delete_threads_of(found, threads)
        services.delete_assistant(ours, found)
        return Response(status=204)

    @extend_schema(
        request=VersionSearch, responses={200: AssistantBody(many=True), **ERRORS}
    )
    def versions(self, request: Request, assistant_id: str) -> Response:
        asked = valid_body(request, VersionSearch)
        found = path_uuid(assistant_id, "assistant")
        assistant = self._visible({"assistant_id": found}).filter(pk=found).first()
        if assistant is None:
            raise NotFound(f"Assistant {found} not found")
        versions = assistant.versions.order_by("-version")
        if asked["metadata"]:
            versions = versions.filter(metadata__contains=asked["metadata"])
        page = versions[asked["offset"] : asked["offset"] + asked["limit"]]
        return Response([version_json(version) for version in page])

    @extend_schema(request=SetLatest, responses={200: AssistantBody, **ERRORS})
    def latest(self, request: Request, assistant_id: str) -> Response:
        asked = valid_body(request, SetLatest)
        found = path_uuid(assistant_id, "assistant")
        stamp: dict[str, Any] = {}
        version = asked["version"]
        value = {"assistant_id": found, "metadata": stamp, "version": version}
        changed = services.set_latest(self._visible(value), found, version, stamp)
        if changed is None:
            raise NotFound(f"Assistant {found} not found")
        return Response(assistant_json(changed))

    @extend_schema(
        parameters=[OpenApiParameter("xray", str)], responses={200: Any, **ERRORS}
    )
    def graph(self, request: Request, assistant_id: str) -> Response:
        xray = schemas.parse_xray(request.query_params.get("xray"))
        try:
            found = UUID(assistant_id)
        except ValueError:  # A graph's name is allowed here.
            found = services.system_assistant_id(assistant_id)
        return Response(schemas.drawable_graph(*self._found(found), xray))

    @extend_schema(responses={200: Any, **ERRORS})
    def schemas(self, request: Request, assistant_id: str) -> Response:
        found = path_uuid(assistant_id, "assistant")
        return Response(schemas.graph_schemas(*self._found(found)))

    @extend_schema(
        parameters=[OpenApiParameter("recurse", bool)], responses={200: Any, **ERRORS}
    )
    def subgraphs(self, request: Request, assistant_id: str) -> Response:
        return self._subgraphs(assistant_id, None)

    @extend_schema(
        operation_id="assistants_subgraphs_below",
        parameters=[OpenApiParameter("recurse", bool)],
        responses={200: Any, **ERRORS},
    )
    def subgraphs_below(
        self, request: Request, assistant_id: str, namespace: str
    ) -> Response:
        return self._subgraphs(assistant_id, namespace)

    def _subgraphs(self, assistant_id: str, namespace: str | None) -> Response:
        recurse = is_true(self.request.query_params.get("recurse"))
        found = self._found(path_uuid(assistant_id, "assistant"))
        return Response(schemas.subgraph_schemas(*found, namespace, recurse))

    def _visible(self, value: dict[str, Any]) -> AssistantQuerySet:
        return Assistant.objects.visible_to(self.scope(value))

    def _found(self, assistant_id: UUID) -> tuple[Assistant, Scope]:
        """The assistant, and the scope that its graph is built with."""
        scope = self.scope({"assistant_id": assistant_id, "metadata": {}})
        visible = Assistant.objects.visible_to(scope)
        assistant = visible.filter(pk=assistant_id).first()
        if assistant is None:
            raise NotFound
        return assistant, scope

    def _matching(self, asked: dict[str, Any]) -> AssistantQuerySet:
        value = searched(asked, "graph_id", "metadata")
        found = self._visible({**value, "graph_id": asked["graph_id"] or None})
        if asked["metadata"]:
            found = found.filter(metadata__contains=asked["metadata"])
        if asked["graph_id"]:
            found = found.filter(graph_id=asked["graph_id"])
        if asked["name"]:
            found = found.filter(name__icontains=asked["name"])
        return found
