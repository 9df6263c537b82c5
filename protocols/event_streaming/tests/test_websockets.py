"""WebSockets: access, events, and the limit of connections."""

from __future__ import annotations

import gc
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.conf import LazySettings

from spool.access.tests.people import Client, Person
from spool.database.loop import Loop
from spool.protocols.event_streaming.tests.publishing import publish
from spool.runs.models import Run
from spool.runs.streaming.events import generation
from spool.runs.streaming.fanout import _fanouts
from spool.runs.streaming.writer import MAX_BATCH_BYTES, publish_end
from spool.tests.compat.streaming import Socket
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread
from spool.web.cors import rules
from spool.web.http_protocol import BoundedHead
from spool.web.tests.serving import Server
from spool.web.websocket_protocol import LeanWebSocket

MESSAGES = {"messages": [{"role": "user", "content": "only alice knows"}]}


def opened(web: Server, thread_id: Any, person: Person, **headers: str) -> Socket:
    given = {"x-api-key": person.key, **headers}
    return Socket(web.url, str(thread_id), **given)


def close_code(socket: Socket) -> int:
    """The code with which the server closes the connection."""
    with socket:
        return socket.close_code()


@pytest.fixture
def thread(web: Server, alice_client: Client) -> Thread:
    """A thread of alice's, with a pending run."""
    thread_id = alice_client.call("post", "/threads", {}).json()["thread_id"]
    body = {"assistant_id": "memory", "input": MESSAGES}
    alice_client.call("post", f"/threads/{thread_id}/runs", body)
    return Thread.objects.get(pk=thread_id)


def test_who_is_not_known_is_told_so(web: Server, thread: Thread) -> None:
    stranger = Person("stranger", key="none")

    assert close_code(opened(web, thread.pk, stranger)) == 4401


def test_a_socket_leads_to_threads_alone(web: Server, alice: Person) -> None:
    assert close_code(opened(web, "no-uuid", alice)) == 4422
    assert close_code(opened(web, "a/b", alice)) == 4404


@pytest.mark.parametrize("exists", [True, False])
def test_bob_sees_a_thread_of_alices_as_one_that_is_not_there(
    web: Server, thread: Thread, bob: Person, exists: bool
) -> None:
    thread_id = thread.pk if exists else uuid4()
    run = thread.runs.get()

    with opened(web, thread_id, bob) as socket:
        subscribed = socket.command("subscription.subscribe", channels=["lifecycle"])
        state = socket.command("state.get", namespace=[])
        publish_end(
            thread.pk, run.pk, "success", generation=generation(thread.created_at)
        )
        again = socket.command("subscription.subscribe", channels=["values"])
        tree = socket.command("agent.getTree")

    assert subscribed["result"]["replayed_events"] == 0
    assert subscribed["meta"] == again["meta"] == {"applied_through_seq": 0}
    assert state["error"] == tree["error"] == "no_such_run"
    assert socket.events == []
    assert "alice" not in json.dumps([subscribed, state, again, tree])


def test_bob_starts_no_run_on_a_thread_of_alices(
    web: Server, thread: Thread, bob: Person
) -> None:
    with opened(web, thread.pk, bob) as socket:
        started = socket.command("run.start", assistant_id="memory", input=MESSAGES)
        forked = socket.command("state.fork", checkpoint_id=str(uuid4()))

    assert started["error"] == "unknown_error"
    assert forked["error"] == "no_such_run"
    assert Run.objects.count() == 1


def test_alice_gets_what_happens_on_her_thread(
    web: Server, thread: Thread, alice: Person
) -> None:
    run = thread.runs.get()

    with opened(web, thread.pk, alice) as socket:
        socket.command("subscription.subscribe", channels=["lifecycle"])
        publish_end(
            thread.pk,
            run.pk,
            "success",
            generation=generation(thread.created_at),
            graph_id=run.graph_id,
        )
        [event] = socket.until()

    assert event["params"]["data"] == {"event": "completed", "graph_name": "memory"}


def test_an_open_socket_keeps_little_of_its_handshake(
    web: Server, thread: Thread, alice: Person
) -> None:
    with opened(web, thread.pk, alice) as socket:
        socket.command("subscription.subscribe", channels=["lifecycle"])
        gc.collect()
        kept = [type(one) for one in gc.get_objects()]
        [served] = [one for one in gc.get_objects() if type(one) is LeanWebSocket]

    assert BoundedHead not in kept
    assert not served.request.headers
    assert not served.response.headers


def test_a_thread_that_comes_later_is_subscribed_to(web: Server, alice: Person) -> None:
    thread_id = uuid4()

    with opened(web, thread_id, alice) as socket:
        socket.command("subscription.subscribe", channels=["lifecycle"])
        started = socket.command("run.start", assistant_id="memory", input=MESSAGES)
        run_id = started["result"]["run_id"]
        cancel = f"{web.url}/threads/{thread_id}/runs/{run_id}/cancel"
        httpx.post(
            cancel, headers={"x-api-key": alice.key}, timeout=WAIT_SECS
        ).raise_for_status()
        [event] = socket.until()

    assert event["params"]["data"]["event"] == "failed"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://good.example", True), ("https://evil.example", False)],
)
def test_pages_of_other_origins_are_let_in_as_cors_does(
    web: Server,
    thread: Thread,
    alice: Person,
    settings: LazySettings,
    origin: str,
    allowed: bool,
) -> None:
    settings.CORS_ALLOW_ORIGINS = ["https://good.example"]
    rules.cache_clear()

    if allowed:
        with opened(web, thread.pk, alice, origin=origin) as socket:
            assert socket.command("state.get")["type"] == "success"
    else:
        assert close_code(opened(web, thread.pk, alice, origin=origin)) == 4403
    rules.cache_clear()


def test_a_caller_holds_so_many_connections_and_no_more(
    web: Server, thread: Thread, alice: Person, settings: LazySettings
) -> None:
    settings.EVENT_STREAM_MAX_CONNECTIONS = 1
    path = f"{web.url}/threads/{thread.pk}/stream/events"

    with opened(web, thread.pk, alice) as socket:
        socket.command("state.get")
        second = close_code(opened(web, thread.pk, alice))
        stream = httpx.post(
            path,
            json={"channels": ["values"]},
            headers={"x-api-key": alice.key},
            timeout=WAIT_SECS,
        )

    assert (second, stream.status_code) == (4429, 429)


def test_messages_and_subscriptions_are_bounded(
    web: Server, thread: Thread, alice: Person, settings: LazySettings
) -> None:
    settings.EVENT_STREAM_MAX_SUBSCRIPTIONS = 1
    settings.EVENT_STREAM_MAX_MESSAGE_BYTES = 2000
    settings.REQUEST_MAX_VALUES = 100

    with opened(web, thread.pk, alice) as socket:
        socket.command("subscription.subscribe", channels=["values"])
        second = socket.command("subscription.subscribe", channels=["values"])
        socket.send(json.dumps({"id": 7, "params": [{}] * 100}))
        many = socket.receive()
        socket.send("é" * 1500)
        code = socket.close_code()

    assert second["error"] == "invalid_argument"
    assert many["error"] == "invalid_argument"
    assert "REQUEST_MAX_VALUES" in many["message"]
    assert code == 4413


def test_a_message_that_cannot_be_stored_is_refused(
    web: Server, thread: Thread, alice: Person
) -> None:
    with opened(web, thread.pk, alice) as socket:
        socket.send(r'{"id": 7, "params": {"input": {"text": "\u0000"}}}')
        nul = socket.receive()
        socket.send('{"id": 8, "params": {"input": {"number": 1e400}}}')
        large = socket.receive()

    assert nul["error"] == large["error"] == "invalid_argument"
    assert nul["message"] == "text with a NUL character can't be stored"
    assert large["message"] == "a number is too large to be stored"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("run.start", {"assistant_id": "memory", "input": MESSAGES}),
        ("input.respond", {"namespace": [], "interrupt_id": "a", "response": 1}),
        ("agent.getTree", {}),
        ("agent.getTree", {"run_id": "{run_id}"}),
        ("state.get", {"namespace": []}),
        ("state.listCheckpoints", {}),
        ("state.fork", {"checkpoint_id": "{run_id}"}),
        ("input.inject", {}),
        ("subscription.subscribe", {"channels": ["values"]}),
    ],
)
def test_no_command_tells_bob_of_alices_thread(
    web: Server, thread: Thread, bob_client: Client, method: str, params: Any
) -> None:
    run_id = str(thread.runs.get().pk)
    params = json.loads(json.dumps(params).replace("{run_id}", run_id))
    command = {"id": 1, "method": method, "params": params}

    answer = bob_client.call("post", f"/threads/{thread.pk}/commands", command).json()

    assert answer["type"] == "error"
    assert "only alice knows" not in json.dumps(answer)
    assert list(thread.runs.values_list("pk", flat=True)) == [thread.runs.get().pk]


def test_a_client_that_does_not_read_is_bounded_and_misses_nothing(
    web: Server,
    thread: Thread,
    alice: Person,
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spool.runs.streaming.viewer.MAX_WAITING", 10_000)
    run = thread.runs.get()

    with opened(web, thread.pk, alice) as socket:
        socket.command("subscription.subscribe", channels=["values"])
        values = [("@values", {"number": n, "text": "x" * 50_000}) for n in range(100)]
        publish(loop, run, 1, *values)
        [viewers] = [
            viewers for one in _fanouts.values() for viewers in one._viewers.values()
        ]
        queued = max(viewer._waiting_bytes for viewer in viewers)
        socket.until(lambda event: event["params"]["data"].get("number") == 99)

    numbers = [event["params"]["data"]["number"] for event in socket.events]
    assert queued <= 10_000 + MAX_BATCH_BYTES + 60_000
    assert numbers == list(range(100))
