"""Operators' routes (`http.app` in langgraph.json) beside Spool's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from spool.access import keys
from spool.access.tests.conftest import Open, Serve
from spool.access.tests.people import Person
from spool.database.loop import conninfo
from spool.web.handler import Application
from spool.web.mounting import mounted
from spool.web.thread_pool import database_threads

pytestmark = pytest.mark.django_db

PLAIN = """
from json import dumps

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": str(scope.get("user"))})
        return
    if scope["type"] != "http":
        raise NotImplementedError
    body = (await receive())["body"]
    found = scope["path"] in ("/hello", "/info")
    status = 200 if found else 404
    shown = dumps({"mine": body.decode(), "user": str(scope.get("user"))}).encode()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": shown})
"""
# Like a Starlette app: it has routes and a lifespan, and answers 404 itself.
ROUTED = (
    PLAIN
    + """
from enum import Enum

class Match(Enum):
    NONE = 0
    PARTIAL = 1
    FULL = 2

class Route:
    def matches(self, scope):
        mine = scope["path"] in ("/hello", "/info", "/mine/gone", "/docs")
        return (Match.FULL if mine else Match.NONE), {}

class Routed:
    routes = [Route()]
    events = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                self.events.append(kind)
                await send({"type": kind + ".complete"})
            return
        await plain(scope, receive, send)

plain, app = app, Routed()
"""
)


@pytest.fixture
def serve_app(serve: Serve, tmp_path: Path) -> Serve:
    def serve_app(source: str, /, **http: Any) -> None:
        (tmp_path / "routes.py").write_text(source)
        serve(http={"app": "./routes.py:app"} | http)

    return serve_app


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("source", [PLAIN, ROUTED], ids=["plain", "routed"])
async def test_the_operators_routes_go_before_ours(
    serve_app: Serve, open_server: Open, source: str
) -> None:
    serve_app(source)

    async with open_server() as client:
        hello = await client.post("/hello", content="body")
        info = (await client.get("/info")).json()
        docs = await client.get("/docs")
        made = await client.post("/threads", json={"metadata": {"a": 1}})
        nowhere = await client.get("/nowhere")

    assert hello.json()["mine"] == "body"
    assert "mine" in info
    assert "swagger" in docs.text
    assert made.json()["metadata"] == {"a": 1}  # Spool gets the whole body.
    assert nowhere.json() == {"detail": "Not Found"}


@pytest.mark.django_db(transaction=True)
async def test_an_app_that_knows_its_routes_answers_404_itself(
    serve_app: Serve, open_server: Open
) -> None:
    serve_app(ROUTED)

    async with open_server() as client:
        answer = await client.get("/mine/gone")

    assert answer.status_code == 404
    assert "mine" in answer.json()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("needs_login", [False, True])
async def test_operators_routes_ask_for_a_key_where_told_to(
    serve_app: Serve, open_server: Open, alice: Person, needs_login: bool
) -> None:
    serve_app(ROUTED, enable_custom_route_auth=needs_login)

    async with open_server() as client:
        without = await client.get("/hello")
        with_key = await client.get("/hello", headers={"x-api-key": alice.key})

    assert without.status_code == (401 if needs_login else 200)
    assert with_key.json()["user"] == ("User('alice')" if needs_login else "None")


@pytest.mark.django_db(transaction=True)
async def test_operators_routes_outlive_a_connection_that_died(
    serve_app: Serve, open_server: Open, alice: Person
) -> None:
    serve_app(ROUTED, enable_custom_route_auth=True)
    # Close them, so that the request creates the server's threads and connections.
    await asyncio.to_thread(database_threads.close)
    others = "pid FROM pg_stat_activity WHERE datname = current_database()"
    cut = f"SELECT pg_terminate_backend(pid, 5000), {others} AND pid <> ALL(%s)"

    async with open_server() as client:
        with psycopg.connect(conninfo(), autocommit=True) as database:
            before = [pid for (pid,) in database.execute(f"SELECT {others}")]
            first = await client.get("/hello", headers={"x-api-key": alice.key})
            dead = database.execute(cut, [before]).fetchall()
        keys.remembered.forget()
        second = await client.get("/hello", headers={"x-api-key": alice.key})

    assert [was_there for was_there, _ in dead] == [True]
    assert first.json() == second.json()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("source", [PLAIN, ROUTED], ids=["plain", "routed"])
@pytest.mark.parametrize("needs_login", [False, True])
async def test_operators_routes_have_our_headers(
    serve_app: Serve, open_server: Open, alice: Person, source: str, needs_login: bool
) -> None:
    block = {"allow_origins": ["https://page.example"], "allow_credentials": True}
    serve_app(source, cors=block, enable_custom_route_auth=needs_login)
    sent = {"origin": "https://page.example", "x-request-id": "abc"}

    async with open_server() as client:
        theirs = await client.get("/hello", headers=sent)
        foreign = await client.get("/hello", headers={"origin": "https://other"})
        ours = await client.get("/ok", headers=sent)

    for answer in (theirs, ours):
        assert answer.headers["access-control-allow-origin"] == sent["origin"]
        assert answer.headers.get_list("x-request-id") == ["abc"]
    assert "access-control-allow-origin" not in foreign.headers


OF_ITS_OWN = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        headers = [(b"vary", b"Accept-Encoding"), *scope["headers"][-1:]]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": b"{}"})
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("allows", [True, False])
async def test_operators_routes_have_cors_of_one_kind(
    serve_app: Serve, open_server: Open, allows: bool
) -> None:
    block = {"allow_origins": ["https://page.example"], "allow_credentials": True}
    serve_app(OF_ITS_OWN, cors=block)
    last = ("access-control-allow-origin", "*") if allows else ("x-own", "1")

    async with open_server() as client:
        sent = httpx.Headers([("origin", "https://page.example"), last])
        answer = await client.get("/hello", headers=sent)

    varies = ", ".join(answer.headers.get_list("vary")).lower()
    assert "accept-encoding" in varies
    assert "origin" in varies.replace("accept-encoding", "")
    # The app's own header is unchanged; Spool adds nothing to it.
    own = answer.headers["access-control-allow-origin"]
    assert own == ("*" if allows else "https://page.example")
    assert ("access-control-allow-credentials" in answer.headers) is not allows


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("source", "path", "with_key", "expected"),
    [
        (ROUTED, "/hello", True, "User('alice')"),
        (ROUTED, "/hello", False, 4401),
        (ROUTED, "/nowhere", True, 4404),
        (PLAIN, "/hello", True, 4404),
    ],
)
async def test_operators_sockets_are_opened_like_their_routes(
    serve_app: Serve,
    alice: Person,
    source: str,
    path: str,
    with_key: bool,
    expected: str | int,
) -> None:
    serve_app(source, enable_custom_route_auth=True)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", alice.key.encode())] if with_key else []
    scope = {"type": "websocket", "path": path, "headers": headers}
    await mounted(Application)(scope, receive, send)

    assert expected in (sent[-1].get("text"), sent[-1].get("code"))


@pytest.mark.parametrize(
    ("source", "events"),
    [(PLAIN, None), (ROUTED, ["lifespan.startup", "lifespan.shutdown"])],
)
async def test_their_lifespan_is_around_ours(
    serve_app: Serve, source: str, events: list[str] | None
) -> None:
    serve_app(source)
    inner: list[str] = []
    app: Any = mounted(lambda: _recording(inner))
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup" if not sent else "lifespan.shutdown"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert inner == ["lifespan.startup", "lifespan.shutdown"]
    assert getattr(app.app.app, "events", None) == events


def _recording(heard: list[str]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            heard.append((await receive())["type"])
            await send({"type": f"{heard[-1]}.complete"})

    return app


@pytest.mark.parametrize("reference", ["./routes.py:no", "./none.py:app", "5"])
def test_an_app_that_cannot_be_loaded_stops_the_start(
    serve_app: Serve, reference: str
) -> None:
    serve_app(PLAIN, app=reference)

    with pytest.raises(SystemExit, match=r"http\.app"):
        mounted(Application)
