"""Event streaming over HTTP: commands, and events as server-sent events."""

from __future__ import annotations

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from pydantic import ValidationError
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from spool.access.authentication import caller_of
from spool.protocols.event_streaming.commands import Conversation, answered, refused
from spool.protocols.event_streaming.errors import Refusal
from spool.protocols.event_streaming.limits import check_connections
from spool.protocols.event_streaming.requests import parsed_command
from spool.protocols.event_streaming.serializers import (
    CommandBody,
    CommandResponseBody,
    EventStreamBody,
)
from spool.protocols.event_streaming.snapshots import standing
from spool.protocols.event_streaming.sse import sse
from spool.protocols.event_streaming.subscriptions import Filter
from spool.runs.views import ERRORS, STREAM, STREAM_HEADERS
from spool.threads.views import OneThreadViewSet
from spool.web.answers import error
from spool.web.errors import BadRequest

BAD_COMMAND = OpenApiResponse(
    CommandResponseBody, description="A body that is not a command"
)
BAD_FILTER = error("An unknown channel, or another field that is not valid")


class EventStreamingViewSet(OneThreadViewSet):
    """Commands and events of one thread."""

    # Each command also authorises the event of the corresponding route.
    events = {"command": "threads.read", "stream": "threads.read"}

    @extend_schema(
        request=CommandBody,
        responses={200: CommandResponseBody, **ERRORS, 400: BAD_COMMAND},
    )
    def command(self, request: Request, thread_id: str) -> Response:
        conversation = Conversation(request, self.path_id)
        try:
            command = parsed_command(_json(request))
        except Refusal as exc:
            return Response(refused(None, exc), status=400)
        return Response(answered(conversation, command))

    @extend_schema(
        request=EventStreamBody, responses={**STREAM, **ERRORS, 400: BAD_FILTER}
    )
    def stream(self, request: Request, thread_id: str) -> StreamingHttpResponse:
        found = self.path_id
        chosen = chosen_filter(_json(request))
        thread = standing(found, self.authorize({"thread_id": found}).scope)
        if thread is None:
            raise self.not_found()
        who = connection_of(request)
        check_connections(who)
        return StreamingHttpResponse(
            sse(found, thread, chosen, who),
            content_type="text/event-stream; charset=utf-8",
            headers=STREAM_HEADERS,
        )


def chosen_filter(given: Any) -> Filter:
    """Parse a filter. Raises 400, naming what is wrong."""
    try:
        return Filter.model_validate(given)
    except ValidationError as exc:
        raise BadRequest(described(exc)) from None


def described(exc: ValidationError) -> str:
    found = exc.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in found[:5]
    )


def connection_of(request: Any) -> str:
    """The key for counting connections: the caller's key, or else the address."""
    caller = caller_of(request)
    return caller.key if caller else str(request.META.get("REMOTE_ADDR", ""))


def _json(request: Request) -> Any:
    try:
        return request.data
    except APIException as exc:
        if exc.status_code != 422:
            raise
        raise BadRequest("Invalid JSON body") from None
