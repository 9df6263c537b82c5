"""The SDK's dispatchers as ASGI applications, one for each of our routes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import cache

from a2a.server.context import ServerCallContext
from a2a.server.routes import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.routes.rest_dispatcher import RestDispatcher
from django.conf import settings
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.handler import CALL, AgentHandler
from spool.web.asgi_response import request_of
from spool.web.guards import App, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]

# The SDK's log messages repeat its responses; `Call` logs failures.
logging.getLogger("a2a").setLevel(logging.CRITICAL)


class _Calls(DefaultServerCallContextBuilder):
    """Passes the call to the methods of `AgentHandler`."""

    def build(self, request: Request) -> ServerCallContext:
        context = super().build(request)
        context.state[CALL] = request.scope[CALL]
        return context


def application(action: str, assistant: str, path: dict[str, str]) -> App:
    """Return the ASGI application for one request.

    `action` is a key of `_endpoints`; `path` has the parameters of the request's path.
    """
    endpoint = _endpoints()[action]

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(request_of(scope), assistant)
        scope_of_call = {**scope, "path_params": path, CALL: call}
        response = await endpoint(Request(scope_of_call, receive))
        if refusal := call.refusal:
            response = JSONResponse(refusal.data, refusal.status_code, refusal.headers)
        if isinstance(response, EventSourceResponse):
            response.ping_interval = settings.STREAM_HEARTBEAT_SECS
        await response(scope, receive, send)

    return respond


@cache
def _endpoints() -> dict[str, Endpoint]:
    handler, calls = AgentHandler(), _Calls()
    rest = RestDispatcher(handler, calls)
    rpc = JsonRpcDispatcher(handler, calls, enable_v0_3_compat=True)
    return {
        "rpc": rpc.handle_requests,
        "send": rest.on_message_send,
        "stream": rest.on_message_send_stream,
        "list": rest.list_tasks,
        "retrieve": rest.on_get_task,
        "cancel": rest.on_cancel_task,
        "subscribe": rest.on_subscribe_to_task,
        "create_push_config": rest.set_push_notification,
        "list_push_configs": rest.list_push_notifications,
        "retrieve_push_config": rest.get_push_notification,
        "destroy_push_config": rest.delete_push_notification,
        "extended_card": rest.handle_authenticated_agent_card,
    }
