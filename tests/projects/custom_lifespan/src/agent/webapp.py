"""A Starlette app with a connection that its lifespan opens, and with middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph_sdk import get_client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    connection = {"is_open": True}
    yield {"connection": connection}
    connection["is_open"] = False


class NameServer(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["X-Served-By"] = "my app"
        return response


async def hello(request: Request) -> JSONResponse:
    assistants = await get_client().assistants.search()
    names = [assistant["name"] for assistant in assistants]
    return JSONResponse({**request.state.connection, "assistants": names})


app = Starlette(
    routes=[Route("/hello", hello)],
    middleware=[Middleware(NameServer)],
    lifespan=lifespan,
)
