"""What clients get if Redis has lost events, or never had them."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db.models.functions import Now

from spool.access.tests.people import Client, Person
from spool.database.loop import Loop
from spool.protocols.event_streaming.tests.publishing import publish, writer_of
from spool.protocols.event_streaming.tests.test_websockets import opened
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.streaming.events import METADATA, generation
from spool.runs.streaming.fanout import Fanout
from spool.runs.streaming.writer import publish_end
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


def lose(run: Run) -> None:
    events.redis_client().delete(events.stream_key(run.thread_id))


def begin(run: Run) -> None:
    """Set the rows as a worker's claim does."""
    Run.objects.filter(pk=run.pk).update(status="running", ended_at=None, attempt=1)
    Thread.objects.filter(pk=run.thread_id).update(status="busy")


def end(run: Run, status: str) -> None:
    Run.objects.filter(pk=run.pk).update(status=status, ended_at=Now())
    Thread.objects.filter(pk=run.thread_id).update(status="idle")


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
    assert [event["seq"] for event in socket.events] == [9, 10][: len(expected)]


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
    begin(run)
    publish(loop, run, 1, (METADATA, {}), ("@values", {"messages": []}))

    with opened(web, run.thread_id, alice) as socket:
        socket.command("subscription.subscribe", channels=["values", "lifecycle"])
        lose(run)
        publish(loop, run, 2, (METADATA, {}), ("@values", {"messages": ["new"]}))
        socket.until(lambda event: "new" in str(event))

    told = [event["params"]["data"] for event in socket.events]
    assert told[2] == VALUES
    numbers = [event["seq"] for event in socket.events]
    assert numbers == sorted(set(numbers))


def test_events_that_are_written_again_come_once(
    web: Server, run: Run, alice: Person, loop: Loop
) -> None:
    begin(run)
    client = events.new_async_redis()
    writer = writer_of(run, client)

    async def write(*numbers: int) -> None:
        for number in numbers:
            writer.emit("@values", {"number": number})
        await writer._write()

    loop.run(write(1, 2, 3))
    lose(run)
    with opened(web, run.thread_id, alice) as socket:
        socket.command("subscription.subscribe", channels=["values"], since=1012)
        loop.run(write(4))
        socket.until(lambda event: event["params"]["data"] == {"number": 4})
    loop.run(client.aclose())

    assert [event["seq"] for event in socket.events] == [1013, 1014]


def test_an_end_without_the_events_before_it_comes_after_a_snapshot(
    web: Server, run: Run, alice: Person, loop: Loop
) -> None:
    begin(run)
    publish(loop, run, 1, (METADATA, {}), ("@values", {"messages": []}))

    with opened(web, run.thread_id, alice) as socket:
        socket.command("subscription.subscribe", channels=["values", "lifecycle"])
        lose(run)
        end(run, "timeout")
        publish_end(
            run.thread_id,
            run.id,
            "timeout",
            generation=generation(run.thread.created_at),
            graph_id=run.graph_id,
            used_seq=20,
            has_begun=True,
        )
        socket.until()

    told = [event["params"]["data"] for event in socket.events]
    assert told[2] == VALUES
    assert told[3]["error"] == "The run timed out"


def test_the_end_of_a_run_that_is_kept_no_more_comes_before_the_next_run(
    web: Server, run: Run, alice: Person, alice_client: Client, loop: Loop
) -> None:
    path = f"/threads/{run.thread_id}/runs"
    body = {"assistant_id": "memory", "input": VALUES}
    made = alice_client.call("post", path, body).json()
    later = Run.objects.select_related("thread").get(pk=made["run_id"])
    begin(later)
    publish(loop, later, 1, (METADATA, {}))

    seen = {}
    for since in (5, 10):
        with opened(web, run.thread_id, alice) as socket:
            channels = ["values", "lifecycle"]
            socket.command("subscription.subscribe", channels=channels, since=since)
            seen[since] = socket.events

    assert list(map(shown, seen[5])) == [
        ("values", None),
        ("lifecycle", "completed"),
        ("lifecycle", "running"),
    ]
    assert str(run.id) in seen[5][1]["event_id"]
    assert list(map(shown, seen[10])) == [("lifecycle", "running")]


@pytest.mark.parametrize(
    ("failures", "replayed"), [(2, {"messages": []}), (1000, VALUES)]
)
def test_a_later_subscription_gets_past_events_despite_an_outage(
    web: Server,
    run: Run,
    alice: Person,
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    replayed: dict[str, Any],
) -> None:
    begin(run)
    publish(loop, run, 1, (METADATA, {}), ("@values", {"messages": []}))
    read_back, left = Fanout.read_back, count(failures, -1)

    async def unavailable(*args: Any) -> Any:
        return None if next(left) > 0 else await read_back(*args)

    with opened(web, run.thread_id, alice) as socket:
        socket.command("subscription.subscribe", channels=["lifecycle"])
        monkeypatch.setattr(Fanout, "read_back", unavailable)
        answer = socket.command("subscription.subscribe", channels=["values"])

    assert answer["result"]["replayed_events"] == 1
    assert socket.events[-1]["params"]["data"] == replayed
