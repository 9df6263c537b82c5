"""The channels that subscribers choose, heartbeats, and custom events."""

from __future__ import annotations

from typing import Any, TypedDict

import httpx
import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from websockets.sync.client import connect

from spool.access.tests.people import Client, Person
from spool.database.loop import Loop
from spool.protocols.event_streaming.normalising import normalised_events
from spool.protocols.event_streaming.tests.publishing import publish
from spool.protocols.event_streaming.tests.test_websockets import opened
from spool.protocols.event_streaming.tests.test_websockets import thread as thread
from spool.runs.streaming.modes import Translator
from spool.threads.models import Thread
from spool.web.tests.serving import Server


class State(TypedDict):
    n: int


ENDS = ("@lifecycle|done", {"event": "completed", "namespace": ["done"]})


@pytest.mark.parametrize(
    "body",
    [
        {"channels": ["values", "nothing"]},
        {"channels": ["custom:"]},
        {"channels": []},
        {},
        {"channels": ["values"], "depth": -1},
        {"channels": ["values"], "since": "1"},
    ],
)
def test_a_choice_that_is_not_valid_is_refused(
    web: Server, thread: Thread, alice_client: Client, body: dict[str, Any]
) -> None:
    answer = alice_client.call("post", f"/threads/{thread.pk}/stream/events", body)

    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_unknown_channels_are_answered_with_those_that_are_known(
    web: Server, thread: Thread, alice_client: Client
) -> None:
    body = {"channels": ["nothing"]}
    answer = alice_client.call("post", f"/threads/{thread.pk}/stream/events", body)

    assert "values, updates, messages, tools, lifecycle" in answer.json()["detail"]
    assert "custom:<name>" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("custom:a", [1]), ("custom:b", [2]), ("custom", [1, 2, 3])],
)
def test_custom_events_are_chosen_by_their_name(
    web: Server,
    thread: Thread,
    alice: Person,
    loop: Loop,
    channel: str,
    expected: list[int],
) -> None:
    told = [("@custom:a", {"n": 1}), ("@custom:b", {"n": 2}), ("@custom", {"n": 3})]

    with opened(web, thread.pk, alice) as socket:
        socket.command("subscription.subscribe", channels=[channel, "lifecycle"])
        publish(loop, thread.runs.get(), 1, *told, ENDS)
        events = socket.until(lambda event: event["method"] == "lifecycle")

    numbers = [
        one["params"]["data"]["n"] for one in events if one["method"] == "custom"
    ]
    assert numbers == expected


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_custom_events_are_named_as_their_node_says() -> None:
    def tell(state: Any) -> dict[str, Any]:
        for data in ({"name": "a", "n": 1}, {"name": "", "n": 2}, "text"):
            get_stream_writer()(data)
        return {"n": 1}

    builder = StateGraph(State)
    builder.add_node("tell", tell)
    builder.add_edge(START, "tell")
    builder.add_edge("tell", END)
    events = normalised_events(
        builder.compile(), {"n": 0}, {}, Translator(["values"]), {}
    )

    names = [name async for name, _ in events if name.startswith("@custom")]

    assert names == ["@custom:a", "@custom", "@custom"]


def test_an_idle_stream_has_heartbeats(
    web: Server, thread: Thread, alice: Person
) -> None:
    url = f"{web.url}/threads/{thread.pk}/stream/events"
    how: dict[str, Any] = {
        "json": {"channels": ["values"]},
        "headers": {"x-api-key": alice.key},
    }
    with httpx.stream("POST", url, **how) as response:
        lines = response.iter_lines()
        beats = [next(line for line in lines if line) for _ in range(2)]

    assert beats == [": heartbeat"] * 2


def test_a_socket_takes_the_first_subprotocol_that_is_offered(
    web: Server, thread: Thread, alice: Person
) -> None:
    base = web.url.replace("http://", "ws://")
    url = f"{base}/threads/{thread.pk}/stream/events"
    headers = {"x-api-key": alice.key}

    offers: Any = ["first", "second"]
    with connect(url, additional_headers=headers, subprotocols=offers) as offering:
        chosen = offering.subprotocol
    with connect(url, additional_headers=headers) as plain:
        none = plain.subprotocol

    assert (chosen, none) == ("first", None)
