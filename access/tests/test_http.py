"""What `http` in langgraph.json does to routes and headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.conf import LazySettings
from django.test import Client as Browser

from access import keys
from access.tests.conftest import Serve
from access.tests.people import Person
from assistants.services import register_system_assistants
from config.asgi import Application
from config.database_threads import database_threads
from config.langgraph_json import warn_of_ignored_keys
from config.loop import conninfo
from config.mounting import mounted
from runs.inputs import graph_config
from runs.lifecycle import Claim
from runs.models import Run

pytestmark = pytest.mark.django_db


# --- Headers ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, set()),
        ({}, set()),
        ({"includes": ["x-foo*"]}, {"x-foo-a", "x-foo-b"}),
        ({"include": ["X-Foo*"], "exclude": ["*-B"]}, {"x-foo-a"}),
        ({"includes": ["*"], "excludes": ["x-foo*", "content-*"]}, {"user-agent"}),
        ({"includes": ["authorization"]}, {"authorization"}),
        ({"includes": ["x-api-key", "x-tenant-id", "x-service-key"]}, set()),
    ],
)
def test_headers_that_runs_get(serve: Serve, config: Any, expected: set[str]) -> None:
    serve(http={"configurable_headers": config} if config is not None else {})
    register_system_assistants()
    sent = {
        "x-foo-a": "1",
        "X-Foo-B": "2",
        "User-Agent": "tests",
        "Authorization": "Bearer x",
        "Cookie": "a=b",
        "x-api-key": "secret",
        "x-tenant-id": "t",
    }

    Browser().post(
        "/runs", {"assistant_id": "echo"}, content_type="application/json", headers=sent
    )

    run = Run.objects.get()
    names = tuple(Claim.__dataclass_fields__)
    held = Claim(**Run.objects.values(*names).get())
    told = graph_config(held)["configurable"]
    lower = {name.lower(): value for name, value in sent.items()}
    assert {name: told[name] for name in lower if name in told} == {
        name: lower[name] for name in expected
    }
    kept = set(run.kwargs["config"]["configurable"])
    assert kept == expected | {"langgraph_request_id"}
    # Checkpoints keep none of it.
    assert not expected & set(graph_config(held)["metadata"])


def test_a_client_can_pass_for_no_header(serve: Serve) -> None:
    serve(http={"configurable_headers": {"includes": ["x-team"]}})
    register_system_assistants()
    body = {"assistant_id": "echo", "config": {"configurable": {"x-team": "forged"}}}

    Browser().post(
        "/runs", body, content_type="application/json", headers={"x-team": "red"}
    )

    assert Run.objects.get().kwargs["config"]["configurable"]["x-team"] == "red"


def test_a_run_knows_its_request(client: Browser, serve: Serve) -> None:
    serve()
    register_system_assistants()
    forged = {"configurable": {"langgraph_request_id": "forged"}}

    client.post(
        "/runs",
        {"assistant_id": "echo", "config": forged},
        content_type="application/json",
        headers={"x-request-id": "abc/1"},
    )

    names = tuple(Claim.__dataclass_fields__)
    held = Claim(**Run.objects.values(*names).get())
    assert graph_config(held)["configurable"]["langgraph_request_id"] == "abc/1"


# --- Routes that are not wanted ---------------------------------------------------------
@pytest.mark.parametrize(
    ("group", "gone", "there"),
    [
        (
            "assistants",
            ["/assistants/x", "/assistants/search", "/assistants/x%0A/schemas"],
            ["/threads/x"],
        ),
        ("threads", ["/threads/x", "/threads/x/state"], ["/threads/x/runs", "/runs/x"]),
        ("runs", ["/runs/x", "/threads/x/runs", "/runs/crons/x"], ["/threads/x"]),
        ("store", ["/store/items?key=k"], ["/threads/x"]),
        ("meta", ["/info", "/metrics", "/docs", "/openapi.json"], ["/ok"]),
    ],
)
def test_disabled_routes_are_not_there(
    serve: Serve, client: Browser, group: str, gone: list[str], there: list[str]
) -> None:
    before = [client.get(path).status_code for path in gone]
    serve(http={f"disable_{group}": True})

    answers = [client.get(path) for path in gone]

    assert 404 not in before
    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].json() == {"detail": "Not Found"}
    assert 404 not in [client.get(path).status_code for path in there]


def test_without_meta_ok_asks_nobody(serve: Serve, client: Browser) -> None:
    serve(http={"disable_meta": True})

    assert client.get("/ok?check_db=1").json() == {"ok": True}


def test_what_is_not_honoured_is_named(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    http = {"logging_headers": {}, "cors": {}, "disable_webhooks": True}
    serve(http=http, auth={"openapi": {}, "other": 1})

    warn_of_ignored_keys()

    assert "http.logging_headers" in caplog.text
    assert "auth.other" in caplog.text
    assert "http.cors" not in caplog.text
    assert "disable_webhooks" not in caplog.text


# --- Below a path, and beside other routes ----------------------------------------------
Open = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def open_server(settings: LazySettings) -> Open:
    """The ASGI application as langgraph.json says now."""
    settings.FORCE_SCRIPT_NAME, settings.STATIC_URL = None, "/static/"

    @asynccontextmanager
    async def open_server() -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app=mounted(Application))
        base = "http://spool.example"
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            yield client

    return open_server


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("prefix", ["/api/v1", "api/v1/"])
async def test_everything_is_below_the_prefix(
    serve: Serve, open_server: Open, prefix: str
) -> None:
    serve(http={"mount_prefix": prefix})

    async with open_server() as client:
        made = await client.post("/api/v1/threads", json={})
        page = await client.get("/api/v1/admin/login/")
        style = next(word for word in page.text.split('"') if word.endswith(".css"))
        statuses = [
            (await client.get(path)).status_code
            for path in (
                *("/ok", "/api/v1/ok", "/api/v1/docs", style),
                *("/threads/x", "/api/v1x/ok", "/"),
            )
        ]

    assert made.status_code == 200
    assert style.startswith("/api/v1/static/")
    assert statuses == [200, 200, 200, 200, 404, 404, 404]


@pytest.mark.django_db(transaction=True)
async def test_a_run_says_where_it_is_with_the_prefix(
    serve: Serve, open_server: Open, system_echo: None
) -> None:
    serve(http={"mount_prefix": "/api"})

    async with open_server() as client:
        thread = (await client.post("/api/threads", json={})).json()["thread_id"]
        body = {"assistant_id": "echo"}
        run = await client.post(f"/api/threads/{thread}/runs", json=body)
        path = f"/api/threads/{thread}/runs/{run.json()['run_id']}"
        await client.post(f"{path}/cancel")
        joined = await client.get(f"{path}/join")
        location = joined.headers["location"]
        followed = await client.get(location)
        # As both official clients do it, whose URL has the prefix.
        below = await client.get(f"/api{location}")
        elsewhere = await client.get(f"/api/api/threads/{thread}x")

    assert run.headers["content-location"] == path
    assert joined.headers["content-location"] == path
    assert location == f"{path}/join"
    assert (followed.status_code, below.status_code) == (200, 200)
    assert followed.content == below.content == joined.content
    assert elsewhere.status_code == 422


@pytest.fixture
def system_echo(transactional_db: None, serve: Serve) -> None:
    serve()
    register_system_assistants()


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
# As Starlette's: it knows its routes, has a lifespan, and answers 404 itself.
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
    assert made.json()["metadata"] == {"a": 1}  # Its body went on to us, whole.
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
    # So that the server's threads, and their connections, are made by the request.
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
    # The app's own is left alone, and ours is not mixed into it.
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
