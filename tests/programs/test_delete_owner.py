"""`spool manage delete_owner`: nothing of the owner is left, and all of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from spool.access.models import ApiKey
from spool.access.tests.people import Client
from spool.assistants.models import Assistant
from spool.assistants.tests.served import _system_assistants as _system_assistants
from spool.assistants.tests.served import serving, write_echo
from spool.crons.models import Cron
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.streaming.writer import publish_end
from spool.store.models import StoreItem
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)
MODELS: tuple[Any, ...] = (Thread, Run, Assistant, Cron, StoreItem, ApiKey)


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = write_echo(tmp_path_factory.mktemp("graphs"))
    with serving(path):
        yield path


def make_everything(client: Client) -> str:
    """One of each; the id of the thread."""
    thread = client.call("post", "/threads", {}).json()["thread_id"]
    echo = {"assistant_id": "echo"}
    item = {"namespace": ["a"], "key": "k", "value": {"x": 1}}
    made = [
        client.call("post", f"/threads/{thread}/runs", echo),
        client.call("post", "/assistants", {"graph_id": "echo"}),
        client.call("post", "/runs/crons", {**echo, "schedule": "@daily"}),
        client.call("put", "/store/items", item),
    ]
    assert {answer.status_code for answer in made} <= {200, 204}
    return str(thread)


def counts(owner: str) -> list[int]:
    return [model.objects.filter(owner=owner).count() for model in MODELS]


def test_an_owner_is_deleted_and_others_are_not(
    alice_client: Client, bob_client: Client
) -> None:
    thread, _ = make_everything(alice_client), make_everything(bob_client)
    run = Run.objects.get(thread__pk=thread)
    publish_end(run.thread_id, run.id, "success", generation=1)
    before = counts("bob")

    call_command("delete_owner", "alice", "--yes")

    assert counts("alice") == [0] * len(MODELS)
    assert counts("bob") == before
    assert min(before) >= 1
    assert events.newest_id(run.thread_id) == (0, 0)


def test_it_says_how_much_it_was_and_may_be_run_again(
    alice_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    make_everything(alice_client)

    call_command("delete_owner", "alice", "--yes", "--keep-usage")
    first = capsys.readouterr().out
    call_command("delete_owner", "alice", "--yes")
    second = capsys.readouterr().out

    assert "1 threads" in first
    assert "1 store items" in first
    assert "usage" not in first
    assert "0 threads" in second


def test_it_asks_first(monkeypatch: pytest.MonkeyPatch, alice_client: Client) -> None:
    make_everything(alice_client)
    monkeypatch.setattr("builtins.input", lambda _: "yes")

    with pytest.raises(CommandError, match="nothing was deleted"):
        call_command("delete_owner", "alice")

    assert Thread.objects.filter(owner="alice").exists()
