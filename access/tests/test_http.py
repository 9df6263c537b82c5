"""What `http` in langgraph.json does to routes and headers."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client as Browser

from spool.access.tests.conftest import Open, Serve
from spool.assistants.services import register_system_assistants
from spool.config.langgraph_json import warn_of_ignored_keys
from spool.runs.models import Run
from spool.runs.worker.inputs import graph_config

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
    held = Run.objects.get()
    told = graph_config(held)["configurable"]
    lower = {name.lower(): value for name, value in sent.items()}
    assert {name: told[name] for name in lower if name in told} == {
        name: lower[name] for name in expected
    }
    kept = set(run.kwargs["config"]["configurable"])
    assert kept == expected | {"langgraph_request_id"}
    # Checkpoints store none of it.
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

    held = Run.objects.get()
    assert graph_config(held)["configurable"]["langgraph_request_id"] == "abc/1"


# --- Disabled routes ------------------------------------------------------------------
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


def test_without_meta_ok_makes_no_checks(serve: Serve, client: Browser) -> None:
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


# --- A mount prefix -------------------------------------------------------------------
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
        # Like both official clients, whose URL includes the prefix.
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
