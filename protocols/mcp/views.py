"""`/mcp` over HTTP, and the metadata for its clients' login."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from spool.access.views import ScopedViewSet
from spool.config import lazy
from spool.web.answers import EVENT_STREAM, EVENTS
from spool.web.asgi_response import ASGIResponse
from spool.web.errors import answer
from spool.web.fields import AnyJSON, Object
from spool.web.limits import check_json
from spool.web.links import absolute_url

APPLICATION = "spool.protocols.mcp.application"


class Message(serializers.Serializer[Any]):
    """A JSON-RPC message. Only documents it: the library parses messages."""

    jsonrpc = serializers.ChoiceField(choices=["2.0"])
    id = AnyJSON(required=False)
    method = serializers.CharField(required=False)
    params = Object(required=False)
    result = Object(required=False)
    error = Object(required=False)


class MCPViewSet(ScopedViewSet):
    # Each message calls the policy itself; all of them are about assistants.
    events = {"message": "assistants.search"}

    @extend_schema(
        operation_id="mcp",
        description="One JSON-RPC message of the Model Context Protocol.",
        request=Message,
        responses={
            200: Message,
            EVENT_STREAM: EVENTS,
            400: OpenApiResponse(Message, description="Not a message of the protocol"),
            202: OpenApiResponse(description="Accepted: a message without an answer"),
        },
    )
    def message(self, request: Request) -> ASGIResponse:
        check_json(request.body)
        # Both versions have their own rules for a client that leaves.
        return ASGIResponse(
            request, lazy.load(APPLICATION, "application"), outlives_client=True
        )

    def get_authenticate_header(self, request: Request) -> str:
        """Say where to get a token, for clients that can request one themselves."""
        if not _issuer():
            return "Bearer"
        url = absolute_url(request._request, reverse("mcp-resource-metadata"))
        return f'Bearer resource_metadata="{url}"'


@require_safe
def resource_metadata(request: HttpRequest) -> HttpResponse:
    """RFC 9728: who issues the tokens that `/mcp` takes."""
    if not _issuer():
        return answer(404, "Not Found")
    resource = absolute_url(request, reverse("mcp"))
    return JsonResponse(
        {
            "resource": resource,
            "authorization_servers": [_issuer()],
            "bearer_methods_supported": ["header"],
        }
    )


def _issuer() -> str:
    return settings.JWT_ISSUER if "jwt" in settings.AUTH else ""
