"""`spool manage delete_owner` deletes everything of an owner, and nothing of others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from spool.access.models import ApiKey
from spool.access.tests.people import Client
from spool.assistants.models import Assistant
from spool.assistants.tests.served import _system_assistants as _system_assistants
from spool.assistants.tests.served import serving, write_echo
from spool.crons.models import Cron, CronFiring
from spool.database.ids import uuid7
from spool.database.loop import close_shared_loop
from spool.runs import queue
from spool.runs.models import Pause, Run, RunAttempt, RunStep
from spool.runs.streaming import events
from spool.runs.streaming.writer import publish_end
from spool.store.models import StoreItem
from spool.threads.models import Thread
from spool.usage.models import Budget, UsageTotal
from spool.webhooks.models import PushConfig, WebhookDelivery

pytestmark = pytest.mark.django_db(transaction=True)
MODELS: tuple[Any, ...] = (
    Thread,
    Run,
    Assistant,
    Cron,
    StoreItem,
    ApiKey,
    RunAttempt,
    Budget,
    UsageTotal,
)


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = write_echo(tmp_path_factory.mktemp("graphs"))
    with serving(path):
        yield path
        close_shared_loop()


@pytest.fixture(autouse=True)
def _no_key_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spool.access.keys.REMEMBERED_SECS", 0.0)


def make_everything(client: Client, owner: str = "alice") -> str:
    """Create one row of each kind. Return the id of the thread."""
    thread = client.call("post", "/threads", {}).json()["thread_id"]
    echo = {"assistant_id": "echo"}
    item = {"namespace": ["a"], "key": "k", "value": {"x": 1}}
    state = {"values": {"x": 1}, "as_node": "echo"}
    # A state needs a graph, and must be written before the run makes the thread busy.
    made = [
        client.call("patch", f"/threads/{thread}", {"metadata": {"graph_id": "echo"}}),
        client.call("post", f"/threads/{thread}/state", state),
        client.call("post", f"/threads/{thread}/runs", echo),
        client.call("post", "/assistants", {"graph_id": "echo"}),
        client.call("post", "/runs/crons", {**echo, "schedule": "@daily"}),
        client.call("put", "/store/items", item),
    ]
    assert {answer.status_code for answer in made} <= {200, 204}
    make_what_runs_leave(Run.objects.get(thread__pk=thread), owner)
    return str(thread)


def make_what_runs_leave(run: Run, owner: str) -> None:
    """Create the rows that a run's end, its models and its webhooks would leave."""
    record: dict[str, Any] = {"owner": owner, "graph_id": "echo", "outcome": "success"}
    record |= dict.fromkeys(("queued_at", "started_at", "ended_at"), run.created_at)
    of_thread = {"thread_id": run.thread_id, "url": "https://example.com"}
    gone = uuid7()
    for run_id in (run.id, gone):
        # One run whose thread exists, and one that was stateless.
        thread_id = run.thread_id if run_id == run.id else uuid7()
        RunAttempt.objects.create(
            run_id=run_id, attempt=1, thread_id=thread_id, **record
        )
        RunStep.objects.create(
            run_id=run_id,
            attempt=1,
            slot=0,
            number=0,
            node="echo",
            started_at=run.created_at,
            duration_ms=1,
            outcome="success",
        )
        WebhookDelivery.objects.create(
            run_id=run_id, thread_id=thread_id, url="https://x.y", payload={}
        )
    PushConfig.objects.create(
        **of_thread, first_run_id=run.id, config_id="c", protocol="1.0", secrets=""
    )
    CronFiring.objects.create(cron=Cron.objects.get(owner=owner), run_id=run.id)
    used = {"graph_id": "echo", "assistant_id": run.assistant_id, "day": date.today()}
    UsageTotal.objects.create(owner=owner, **used)
    key = ApiKey.objects.create(owner=owner, digest=f"of {owner}")
    limit: dict[str, Any] = {"period": "day", "unit": "tokens", "limit": 1000}
    Budget.objects.create(owner=owner, **limit)
    Budget.objects.create(api_key_id=key.pk, **limit)
    queue.pause(Pause.Kind.OWNER, owner)
    queue.limit_owner(owner, 3)


def counts(owner: str) -> list[int]:
    return [model.objects.filter(owner=owner).count() for model in MODELS]


# Tables without a column for the owner, with at least a row for each of the two owners.
OTHERS = (
    "run_steps",
    "webhook_deliveries",
    "push_configs",
    "cron_firings",
    "budgets",
    "run_pauses",
    "run_limits",
    "checkpoints",
    "checkpoint_blobs",
)


def sizes() -> dict[str, int]:
    with connection.cursor() as cursor:
        found = {}
        for table in OTHERS:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
            (found[table],) = cursor.fetchone()
        return found


def test_an_owner_is_deleted_and_others_are_not(
    alice_client: Client, bob_client: Client
) -> None:
    make_everything(bob_client, "bob")
    before, sizes_before = counts("bob"), sizes()
    thread = make_everything(alice_client)
    run = Run.objects.get(thread__pk=thread)
    publish_end(run.thread_id, run.id, "success", generation=1)

    call_command("delete_owner", "alice", "--yes")

    assert counts("alice") == [0] * len(MODELS)
    assert counts("bob") == before
    assert min(before) >= 1
    assert sizes() == sizes_before
    assert min(sizes_before.values()) >= 1
    assert events.newest_id(run.thread_id) == (0, 0)


def test_it_says_how_much_it_was_and_may_be_run_again(
    alice_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    make_everything(alice_client)

    call_command("delete_owner", "alice", "--yes", "--keep-usage")
    assert UsageTotal.objects.filter(owner="alice").exists()
    first = capsys.readouterr().out
    call_command("delete_owner", "alice", "--yes")
    second = capsys.readouterr().out

    assert "1 threads" in first
    assert "1 store items" in first
    assert "usage" not in first
    assert "1 rows of usage" in second
    assert "0 threads" in second


def test_it_asks_first(monkeypatch: pytest.MonkeyPatch, alice_client: Client) -> None:
    make_everything(alice_client)
    monkeypatch.setattr("builtins.input", lambda _: "yes")

    with pytest.raises(CommandError, match="nothing was deleted"):
        call_command("delete_owner", "alice")

    assert Thread.objects.filter(owner="alice").exists()
