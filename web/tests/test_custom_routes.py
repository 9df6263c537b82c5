"""An operator's own app: its middleware wraps every route, its routes are described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.config.langgraph_json import langgraph_json
from spool.web import openapi
from spool.web.handler import Application
from spool.web.mounting import mounted
from spool.web.tests.serving import Server, serving

pytestmark = pytest.mark.django_db(transaction=True)

APP = """
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

lives = []


@asynccontextmanager
async def lifespan(app):
    lives.append("begun")
    yield
    lives.append("ended")


class Sign:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def signed(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-signed", b"yes")]
            await send(message)

        await self.app(scope, receive, signed)


async def greet(request):
    return PlainTextResponse(f"{request.path_params['name']} {lives}")


async def hidden(request):
    return PlainTextResponse("theirs")


app = Starlette(
    routes=[
        Route("/greet/{name:str}", greet, methods=["GET", "POST"]),
        Route("/docs", hidden),
        Route("/hidden", hidden, include_in_schema=False),
    ],
    middleware=[Middleware(Sign)],
    lifespan=lifespan,
)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "mine.py").write_text(APP)
    http = {"app": f"{tmp_path}/mine.py:app"}
    monkeypatch.setenv("LANGGRAPH_HTTP", json.dumps(http))
    forget()
    try:
        with serving(mounted(Application)) as found:
            yield found
    finally:
        monkeypatch.undo()
        forget()


def forget() -> None:
    langgraph_json.cache_clear()
    openapi.schema.cache_clear()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/greet/you", 200),
        ("GET", "/ok", 200),
        ("GET", "/docs", 200),
        ("POST", "/threads/search", 200),
        ("GET", "/nothing-here", 404),
        ("PUT", "/greet/you", 404),
    ],
)
def test_middleware_is_around_every_route(
    server: Server, method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, server.url + path, json={})

    assert answer.status_code == status
    assert answer.headers["x-signed"] == "yes"


def test_its_lifespan_runs_once_and_what_is_ours_stays_ours(server: Server) -> None:
    assert httpx.get(f"{server.url}/greet/you").text == "you ['begun']"
    assert httpx.get(f"{server.url}/docs").text != "theirs"


def test_its_routes_are_described(server: Server) -> None:
    paths: Any = httpx.get(f"{server.url}/openapi.json").json()["paths"]

    assert set(paths["/greet/{name}"]) == {"get", "post"}
    assert "/hidden" not in paths
    assert "/threads" in paths
