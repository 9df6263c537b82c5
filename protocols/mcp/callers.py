"""The caller of a message, from the request of its view."""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext
from rest_framework.request import Request
from starlette.requests import Request as HTTPRequest

from spool.access.authentication import caller_of
from spool.web.asgi_response import request_of

Context = ServerRequestContext[Any, HTTPRequest]


def view_request(context: Context) -> Request:
    """The request that the view has received, for the policy."""
    assert context.request is not None  # noqa: S101 - there is no other transport
    return request_of(context.request.scope)


def identity_of(request: HTTPRequest) -> str:
    """The caller's identity; empty without access control."""
    caller = caller_of(request_of(request.scope))
    return caller.identity if caller else ""
