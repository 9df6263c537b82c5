"""A2A over HTTP: JSON-RPC and REST for 1.0, JSON-RPC for 0.3, and agent cards.

Each request is authenticated and rate-limited before the A2A SDK is called. The SDK is
loaded at the first request.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.policy import authorize
from spool.access.views import ScopedViewSet
from spool.assistants.graphs import registry
from spool.assistants.models import Assistant
from spool.assistants.services import assistant_id_of
from spool.config import lazy
from spool.protocols.a2a.serializers import (
    AgentTaskBody,
    CardBody,
    PushConfigBody,
    PushConfigsBody,
    RPCBody,
    SendBody,
    SentBody,
    TasksBody,
)
from spool.web.answers import EVENT_STREAM, EVENTS, error
from spool.web.asgi_response import ASGIResponse
from spool.web.errors import BadRequest, NotFound, Unprocessable

ENDPOINTS = "spool.protocols.a2a.endpoints"
CARDS = "spool.protocols.a2a.cards"

STREAM = {EVENT_STREAM: EVENTS}
JSON = (200, "application/a2a+json")
# An object without fields.
NOTHING = {"type": "object", "maxProperties": 0}


class AgentViewSet(ScopedViewSet):
    """The methods of A2A for one agent, which is an assistant.

    Each method calls the policy where it accesses rows, with the same event and value as
    the corresponding route of runs.
    """

    events = {
        "rpc": "threads.create_run",
        "send": "threads.create_run",
        "stream": "threads.create_run",
        "list": "threads.search",
        "retrieve": "threads.read",
        "cancel": "threads.update",
        "subscribe": "threads.read",
        "create_push_config": "threads.update",
        "list_push_configs": "threads.read",
        "retrieve_push_config": "threads.read",
        "destroy_push_config": "threads.update",
        "extended_card": "assistants.read",
        "card": "assistants.read",
        "find_card": "assistants.read",
    }

    # Cards of system assistants are public.
    public_actions = frozenset({"card", "find_card"})

    @extend_schema(request=RPCBody, responses={200: RPCBody, **STREAM})
    def rpc(self, request: Request, assistant_id: str) -> Response | ASGIResponse:
        """All methods as JSON-RPC 2.0: those of A2A 1.0, and those of 0.3."""
        try:
            return self._answer(request, assistant_id)
        except Unprocessable as exc:
            error = {"code": -32700, "message": str(exc.detail)}
            return Response({"jsonrpc": "2.0", "id": None, "error": error})

    @extend_schema(request=SendBody, responses={JSON: SentBody})
    def send(self, request: Request, assistant_id: str) -> ASGIResponse:
        return self._answer(request, assistant_id)

    @extend_schema(request=SendBody, responses=STREAM)
    def stream(self, request: Request, assistant_id: str) -> ASGIResponse:
        return self._answer(request, assistant_id)

    @extend_schema(operation_id="a2a_tasks_list", responses={JSON: TasksBody})
    def list(self, request: Request, assistant_id: str) -> ASGIResponse:
        return self._answer(request, assistant_id)

    @extend_schema(operation_id="a2a_tasks_retrieve", responses={JSON: AgentTaskBody})
    def retrieve(self, request: Request, assistant_id: str, id: str) -> ASGIResponse:
        return self._answer(request, assistant_id, id=id)

    @extend_schema(request=OpenApiTypes.OBJECT, responses={JSON: AgentTaskBody})
    def cancel(self, request: Request, assistant_id: str, id: str) -> ASGIResponse:
        return self._answer(request, assistant_id, id=id)

    @extend_schema(request=None, responses=STREAM)
    def subscribe(self, request: Request, assistant_id: str, id: str) -> ASGIResponse:
        return self._answer(request, assistant_id, id=id)

    @extend_schema(request=PushConfigBody, responses={JSON: PushConfigBody})
    def create_push_config(
        self, request: Request, assistant_id: str, id: str
    ) -> ASGIResponse:
        return self._answer(request, assistant_id, id=id)

    @extend_schema(
        operation_id="a2a_push_configs_list", responses={JSON: PushConfigsBody}
    )
    def list_push_configs(
        self, request: Request, assistant_id: str, id: str
    ) -> ASGIResponse:
        return self._answer(request, assistant_id, id=id)

    @extend_schema(
        operation_id="a2a_push_configs_retrieve", responses={JSON: PushConfigBody}
    )
    def retrieve_push_config(
        self, request: Request, assistant_id: str, id: str, push_id: str
    ) -> ASGIResponse:
        return self._answer(request, assistant_id, id=id, push_id=push_id)

    @extend_schema(responses={JSON: NOTHING})
    def destroy_push_config(
        self, request: Request, assistant_id: str, id: str, push_id: str
    ) -> ASGIResponse:
        return self._answer(request, assistant_id, id=id, push_id=push_id)

    @extend_schema(responses={JSON: CardBody})
    def extended_card(self, request: Request, assistant_id: str) -> ASGIResponse:
        return self._answer(request, assistant_id)

    # --- Cards ---------------------------------------------------------------------------
    @extend_schema(responses={200: CardBody})
    def card(self, request: Request, assistant_id: str) -> Response:
        return self._card(request, self._assistant(request, assistant_id))

    @extend_schema(
        parameters=[OpenApiParameter("assistant_id", str)],
        responses={
            200: CardBody,
            400: error("assistant_id is required if there are several agents"),
        },
    )
    def find_card(self, request: Request) -> Response:
        """The card of `assistant_id`, which may be left out where there is only one."""
        if assistant_id := request.query_params.get("assistant_id"):
            return self._card(request, self._assistant(request, assistant_id))
        served = Assistant.objects.filter(
            is_system=True, graph_id__in=registry().graph_ids
        )
        found = list(served.order_by("graph_id"))
        if len(found) == 1:
            return self._card(request, found[0])
        known = ", ".join(f"{one.id} ({one.graph_id})" for one in found)
        raise BadRequest(f"assistant_id is required, one of: {known}")

    def get_authenticators(self) -> Any:
        return [] if self._is_public else super().get_authenticators()

    def get_throttles(self) -> Any:
        return [] if self._is_public else super().get_throttles()

    @property
    def _is_public(self) -> bool:
        """Cards are public so that clients can read how to log in."""
        # DRF reads this before it has set `action`.
        method = str(self.request.method).lower() if self.request else ""
        action = getattr(self, "action", None) or self.action_map.get(method)
        return action in self.public_actions

    def _card(self, request: Request, assistant: Assistant) -> Response:
        public_card = lazy.load(CARDS, "public_card")
        return Response(public_card(request._request, assistant))

    def _assistant(self, request: Request, name: str) -> Assistant:
        """Raises 404 if it doesn't exist or the caller may not see it."""
        try:
            value: dict[str, Any] = {"assistant_id": assistant_id_of(name)}
        except Unprocessable:
            raise NotFound from None
        named = Assistant.objects.filter(pk=value["assistant_id"])
        if found := named.filter(is_system=True).first():
            return found
        try:
            scope = authorize(request._request, self.events["card"], value).scope
        except APIException:
            raise NotFound from None
        found = named.visible_to(scope).first()
        if found is None:
            raise NotFound
        return found

    def _answer(self, request: Request, assistant_id: str, **path: str) -> ASGIResponse:
        _ = request.body  # Keep the body: parsing would consume it.
        _ = request.data  # Raises for JSON that we don't accept.
        application = lazy.load(ENDPOINTS, "application")
        return ASGIResponse(request, application(self.action, assistant_id, path))
