"""What clients get if Redis has lost events, or never had them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from spool.access.tests.people import Client, Person
from spool.database.loop import Loop
from spool.protocols.event_streaming.tests.test_websockets import opened
from spool.runs.lifecycle import SEQS_OF_ATTEMPT
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.streaming.events import METADATA, generation
from spool.runs.streaming.scripts import SEQ_JUMP
from spool.runs.streaming.writer import EventWriter
from spool.threads.models import Thread
from spool.web.tests.serving import Server

VALUES = {"messages": [{"type": "human", "content": "kept", "id": "m1"}]}


@pytest.fixture
def run(web: Server, alice_client: Client) -> Run:
    """A finished run of alice's, on a thread without events in Redis."""
    thread_id = alice_client.call("post", "/threads", {}).json()["thread_id"]
    body = {"assistant_id": "memory", "input": VALUES}
    made = alice_client.call("post", f"/threads/{thread_id}/runs", body).json()
    Run.objects.filter(pk=made["run_id"]).update(
        status="success", ended_at=Now() - timedelta(minutes=1)
    )
    Thread.objects.filter(pk=thread_id).update(
        status="idle", resting_status="idle", values=VALUES, event_seq=10
    )
    return Run.objects.select_related("thread").get(pk=made["run_id"])


def publish(loop: Loop, run: Run, attempt: int, *events_: tuple[str, Any]) -> None:
    """As the worker that executes the run in this attempt."""

    async def write() -> None:
        client = events.new_async_redis()
        writer = EventWriter(
            client,
            thread_id=run.thread_id,
            run_id=run.id,
            attempt=attempt,
            generation=generation(run.thread.created_at),
            graph_id=run.graph_id,
            used_seq=10 + (attempt - 1) * SEQS_OF_ATTEMPT,
        )
        for name, data in events_:
            writer.emit(name, data)
        await writer.settle()
        await client.aclose()

    loop.run(write())


def shown(event: dict[str, Any]) -> tuple[str, Any]:
    return event["method"], event["params"]["data"].get("event")


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (5, [("values", None), ("lifecycle", "completed")]),
        (0, [("values", None), ("lifecycle", "completed")]),
        (10, []),
    ],
)
def test_what_was_missed_and_is_kept_no_more_is_summed_up(
    web: Server,
    run: Run,
    alice: Person,
    since: int,
    expected: list[tuple[str, str | None]],
) -> None:
    with opened(web, run.thread_id, alice) as socket:
        answered = socket.command(
            "subscription.subscribe", channels=["values", "lifecycle"], since=since
        )

    assert list(map(shown, socket.events)) == expected
    assert answered["result"]["replayed_events"] == len(expected)
    assert all(10 < event["seq"] <= 10 + SEQ_JUMP for event in socket.events)


def test_an_end_that_was_never_published_is_found_out(
    web: Server, run: Run, alice: Person, loop: Loop
) -> None:
    publish(loop, run, 1, (METADATA, {"run_id": run.id, "attempt": 1}))

    with opened(web, run.thread_id, alice) as socket:
        socket.command("subscription.subscribe", channels=["lifecycle"])
        socket.until()

    assert list(map(shown, socket.events)) == [
        ("lifecycle", "running"),
        ("lifecycle", "completed"),
    ]
    numbers = [event.seq for event in events.kept_events(run.thread_id)]
    assert [event["seq"] for event in socket.events] == numbers


def test_what_a_lost_attempt_published_is_summed_up(
    web: Server, run: Run, alice: Person, loop: Loop
) -> None:
    Run.objects.filter(pk=run.pk).update(status="running", ended_at=None)
    Thread.objects.filter(pk=run.thread_id).update(status="busy")
    publish(loop, run, 1, (METADATA, {}), ("@values", {"messages": []}))

    with opened(web, run.thread_id, alice) as socket:
        socket.command("subscription.subscribe", channels=["values", "lifecycle"])
        events.redis_client().delete(events.stream_key(run.thread_id))
        publish(loop, run, 2, (METADATA, {}), ("@values", {"messages": ["new"]}))
        socket.until(lambda event: "new" in str(event))

    told = [event["params"]["data"] for event in socket.events]
    assert told[2] == VALUES
    numbers = [event["seq"] for event in socket.events]
    assert numbers == sorted(set(numbers))
