"""Permissions are those of the corresponding routes of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings

from spool.access.keys import create_key
from spool.access.tests.conftest import Open
from spool.access.tests.people import Client, Person
from spool.protocols.a2a.tests.calling import (
    Caller,
    execute_all,
    message_of,
    newest_run,
)
from spool.runs.models import Run
from spool.runs.tests.executing import Here
from spool.webhooks.models import PushConfig

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "only alice knows 4711"
VERSION = {"a2a-version": "1.0"}
MISSING = "01a22c00-0000-7000-8000-000000000000:01a22c00-0000-7000-8000-000000000001"
PUSH = "TaskPushNotificationConfig"


@pytest.fixture
def alices(alice_calls: Caller, here: Here) -> dict[str, Any]:
    """A task of alice's that waits for an answer."""
    task = alice_calls.send(SECRET)
    execute_all(here)
    run = newest_run(task["id"])
    PushConfig.objects.create(
        thread_id=run.thread_id,
        first_run_id=run.id,
        config_id="push",
        url=f"https://example.com/{SECRET}",
        protocol="1.0",
        secrets="",
    )
    return task


METHODS: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("GetTask", lambda task: {"id": task}),
    ("CancelTask", lambda task: {"id": task}),
    ("SubscribeToTask", lambda task: {"id": task}),
    ("SendMessage", lambda task: {"message": message_of("yes", taskId=task)}),
    ("SendStreamingMessage", lambda task: {"message": message_of("yes", taskId=task)}),
    ("ListTasks", lambda task: {"contextId": task[:36], "historyLength": 9}),
    ("ListTasks", lambda task: {"includeArtifacts": True}),
    (f"Create{PUSH}", lambda task: {"taskId": task, "url": "https://93.184.215.14/"}),
    (f"Get{PUSH}", lambda task: {"taskId": task, "id": "push"}),
    (f"List{PUSH}s", lambda task: {"taskId": task}),
    (f"Delete{PUSH}", lambda task: {"taskId": task, "id": "push"}),
]


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_bob_learns_and_changes_nothing(
    alices: dict[str, Any],
    bob_calls: Caller,
    method: str,
    params: Callable[[str], dict[str, Any]],
) -> None:
    before = list(Run.objects.values()), list(PushConfig.objects.values())

    hidden = bob_calls.answer(method, **params(alices["id"]))
    missing = bob_calls.answer(method, **params(MISSING))

    assert hidden == missing
    assert SECRET not in json.dumps(hidden)
    assert (list(Run.objects.values()), list(PushConfig.objects.values())) == before


def test_bob_can_not_go_on_with_alices_conversation(
    alices: dict[str, Any], bob_calls: Caller
) -> None:
    message = message_of("hi", contextId=alices["contextId"])

    answer = bob_calls.answer("SendMessage", message=message)

    assert answer["error"]["message"] == "Thread or assistant not found."
    assert Run.objects.count() == 1


def test_bob_can_not_ask_alices_assistant(
    alice_client: Client, bob_client: Client
) -> None:
    body = {"graph_id": "confirming"}
    made = alice_client.call("post", "/assistants", body).json()["assistant_id"]

    answer = Caller(bob_client, made).answer("SendMessage", message=message_of("hi"))

    assert answer["error"]["message"] == "Thread or assistant not found."
    assert Run.objects.count() == 0


# --- Requests that HTTP itself refuses ----------------------------------------------
async def post(http: Any, body: Any, key: str = "", path: str = "/a2a/echo") -> Any:
    headers = {**VERSION, **({"x-api-key": key} if key else {})}
    return await http.post(path, content=json.dumps(body), headers=headers)


def rpc(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


SEND = {"message": message_of("hi"), "configuration": {"returnImmediately": True}}


@pytest.mark.usefixtures("api_keys")
@pytest.mark.parametrize(
    ("path", "body"),
    [("/a2a/echo", rpc("SendMessage", **SEND)), ("/a2a/echo/message:send", SEND)],
)
async def test_callers_have_to_log_in(open_server: Open, path: str, body: Any) -> None:
    async with open_server() as http:
        answer = await post(http, body, path=path)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("path", "body"),
    [("/a2a/echo", rpc("SendMessage", **SEND)), ("/a2a/echo/message:send", SEND)],
)
async def test_a_key_does_what_its_scopes_say(
    open_server: Open, reader: Person, path: str, body: Any
) -> None:
    async with open_server() as http:
        refused = await post(http, body, reader.key, path)
        listed = await post(http, rpc("ListTasks"), reader.key)

    assert (refused.status_code, refused.json()) == (403, {"detail": "Forbidden"})
    assert listed.json()["result"]["totalSize"] == 0


@pytest.fixture
def reader(api_keys: None) -> Person:
    return Person("reader", create_key(owner="reader", scopes=["threads:read"])[1])


async def test_owners_have_only_so_many_runs(
    open_server: Open, alice: Person, settings: LazySettings
) -> None:
    settings.MAX_RUNS_PER_OWNER = 1
    async with open_server() as http:
        first = await post(http, rpc("SendMessage", **SEND), alice.key)
        second = await post(http, rpc("SendMessage", **SEND), alice.key)
        by_rest = await post(http, SEND, alice.key, "/a2a/echo/message:send")

    assert first.json()["result"]["task"]
    assert (second.status_code, by_rest.status_code) == (429, 429)
    assert "At most 1 runs" in second.json()["detail"]


async def test_requests_are_counted(
    open_server: Open, alice: Person, settings: LazySettings
) -> None:
    settings.RATE_LIMIT = 2
    async with open_server() as http:
        answers = [await post(http, rpc("ListTasks"), alice.key) for _ in range(3)]

    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-remaining"] == "1"


async def test_bodies_are_bounded(
    open_server: Open, alice: Person, settings: LazySettings
) -> None:
    settings.REQUEST_MAX_BYTES = 2000
    long = rpc("SendMessage", message=message_of("x" * 3000))
    async with open_server() as http:
        answer = await post(http, long, alice.key)

    assert answer.status_code == 413


@pytest.mark.parametrize("content_type", ["application/json", "application/a2a+json"])
@pytest.mark.parametrize("path", ["/a2a/echo", "/a2a/echo/message:send"])
async def test_values_are_bounded(
    open_server: Open,
    alice: Person,
    settings: LazySettings,
    path: str,
    content_type: str,
) -> None:
    settings.REQUEST_MAX_VALUES = 100
    text = '{"message": [' + "{}," * 200 + "{}]}"
    headers = {**VERSION, "x-api-key": alice.key, "content-type": content_type}
    async with open_server() as http:
        answer = await http.post(path, content=text, headers=headers)

    assert answer.status_code == 413
    assert "REQUEST_MAX_VALUES" in answer.text


@pytest.mark.parametrize("text", ["{", "[" * 300 + "]" * 300, '{"a": "\\ud800"}'])
async def test_what_is_no_json_is_refused(
    open_server: Open, alice: Person, text: str
) -> None:
    async with open_server() as http:
        answer = await http.post(
            "/a2a/echo", content=text, headers={**VERSION, "x-api-key": alice.key}
        )

    assert answer.status_code == 200
    assert answer.json()["error"]["code"] in (-32700, -32600)


async def test_answers_have_the_headers_of_all_answers(
    open_server: Open, alice: Person
) -> None:
    async with open_server() as http:
        headers = {**VERSION, "x-api-key": alice.key, "x-request-id": "mine"}
        answer = await http.get("/a2a/echo/tasks", headers=headers)

    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["content-type"] == "application/a2a+json"
