"""Runs whose owner or API key has used up a budget."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from spool.access.models import ApiKey
from spool.access.tests.people import Client
from spool.runs.budget_stops import stop_over_budget
from spool.runs.models import Run, RunAttempt
from spool.runs.tests.executing import begun, wait_for
from spool.runs.tests.oddities import Executing, served
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread
from spool.usage import budgets
from spool.usage.meter import meter
from spool.usage.models import Budget, UsageTotal

pytestmark = pytest.mark.django_db(transaction=True)

ERROR = Run.BUDGET_ERROR
SOME = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module", autouse=True)
def spending(graphs: Path) -> Iterator[None]:
    with served(graphs.parent, "spending.py", "holds", "stubborn"):
        yield


@pytest.fixture(autouse=True)
def _new_counters() -> None:
    meter.forget()
    budgets.known.forget()


def set_budget(*args: Any, **options: Any) -> str:
    out = StringIO()
    call_command("set_budget", *args, stdout=out, **options)
    budgets.known.forget()
    return out.getvalue()


def use(tokens: int, owner: str = "alice", **changes: Any) -> None:
    today = timezone.now().date()
    given = {"assistant_id": SOME, "day": today, "input": tokens, **changes}
    UsageTotal.objects.create(owner=owner, **given)


def ask(client: Client, thread: Thread, graph: str = "holds", **more: Any) -> Any:
    body = {"assistant_id": graph, "input": {"messages": []}, **more}
    return client.call("post", f"/threads/{thread.id}/runs", body)


# --- Refused ------------------------------------------------------------------------
def test_a_run_over_budget_is_refused(
    alice_client: Client, bob_client: Client, thread: Thread
) -> None:
    set_budget("--owner=alice", "--tokens=1000")
    use(999)
    assert ask(alice_client, thread).status_code == 200
    use(1)

    refused = ask(alice_client, thread)

    assert refused.status_code == 402
    assert refused.json() == {
        "detail": "Budget exceeded: 1000 of 1000 tokens used by this owner this month"
    }
    assert Run.objects.count() == 1
    others = bob_client.call("post", "/runs", {"assistant_id": "holds"})
    assert others.status_code == 200


def test_a_budget_of_a_day_begins_anew(alice_client: Client, thread: Thread) -> None:
    set_budget("--owner=alice", "--tokens=10", "--per=day")
    use(10, day=timezone.now().date() - timedelta(days=1))

    assert ask(alice_client, thread).status_code == 200


def test_a_budget_of_a_key_is_for_that_key(
    alice_client: Client, thread: Thread
) -> None:
    key = ApiKey.objects.get(owner="alice")
    set_budget(f"--key={key.prefix}", "--tokens=10", "--per=day")
    use(10)
    assert ask(alice_client, thread).status_code == 200
    use(10, api_key_id=key.pk)

    refused = ask(alice_client, thread)

    assert refused.status_code == 402
    assert "this API key this day" in refused.json()["detail"]


def test_a_budget_of_money_counts_what_has_a_price(
    alice_client: Client, thread: Thread, caplog: pytest.LogCaptureFixture
) -> None:
    budgets._say_unpriced.cache_clear()
    set_budget("--owner=alice", "--money=2.5")
    use(10**9, model="tiny-1", provider="tiny")
    use(999_999, model="gpt-4o", provider="openai", calls=1000)
    assert ask(alice_client, thread).status_code == 200
    assert "'tiny-1' of provider 'tiny' has no price" in caplog.text
    use(1, model="gpt-4o", provider="openai", calls=1)

    refused = ask(alice_client, thread)

    assert refused.status_code == 402
    assert "2.5 of 2.5 USD" in refused.json()["detail"]


def test_a_run_counts_for_the_key_that_asked(
    alice_client: Client, oddly: Executing, thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    config = {"configurable": {"folder": str(tmp_path)}}
    body = ask(alice_client, thread, config=config).json()

    oddly.execute_again(Run.objects.get(pk=body["run_id"]))

    key = ApiKey.objects.get(owner="alice")
    (total,) = UsageTotal.objects.all()
    assert (total.owner, total.api_key_id, total.calls) == ("alice", key.pk, 2)


# --- Stopped ------------------------------------------------------------------------
def start(
    client: Client, oddly: Executing, thread: Thread, folder: Path, graph: str
) -> tuple[Run, Any]:
    config = {"configurable": {"folder": str(folder)}}
    body = ask(client, thread, graph, config=config).json()
    run = Run.objects.get(pk=body["run_id"])
    done = oddly.start_again(run)
    wait_for(lambda: bool(begun(folder)) or (folder / "begun").exists())
    return run, done


def test_a_run_that_crosses_its_budget_is_stopped(
    alice_client: Client, oddly: Executing, thread: Thread, tmp_path: Path
) -> None:
    run, done = start(alice_client, oddly, thread, tmp_path, "holds")
    waiting = ask(alice_client, thread).json()["run_id"]
    set_budget("--owner=alice", "--tokens=15", "--per=day")
    wait_for(lambda: UsageTotal.objects.exists())

    stop_over_budget()
    oddly.executor.stop(run.id, Run.OVER_BUDGET)
    done.result(timeout=WAIT_SECS)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, run.error, run.cancel_action) == ("error", ERROR, "over_budget")
    assert RunAttempt.objects.get(run_id=run.id).outcome == "error"
    # The pending run has not started.
    ended = Run.objects.get(pk=waiting)
    assert (ended.status, ended.error, ended.attempt) == ("error", ERROR, 0)
    assert thread.status == "error"


def test_a_graph_that_goes_on_calls_no_more_models(
    alice_client: Client,
    oddly: Executing,
    thread: Thread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spool.runs.worker.execution.CANCEL_TIMEOUT_SECS", 0.2)
    run, done = start(alice_client, oddly, thread, tmp_path, "stubborn")

    oddly.executor.stop(run.id, Run.OVER_BUDGET)
    done.result(timeout=WAIT_SECS)

    run.refresh_from_db()
    assert (run.status, run.error) == ("error", ERROR)
    calls = len(begun(tmp_path))
    wait_for(lambda: sum(UsageTotal.objects.values_list("calls", flat=True)) >= calls)
    assert sum(UsageTotal.objects.values_list("calls", flat=True)) <= calls + 1
    (tmp_path / "go").touch()


def test_others_go_on(
    alice_client: Client, oddly: Executing, thread: Thread, tmp_path: Path
) -> None:
    run, done = start(alice_client, oddly, thread, tmp_path, "holds")
    set_budget("--owner=bob", "--tokens=0")

    assert stop_over_budget() == []

    run.refresh_from_db()
    assert run.cancel_action is None
    (tmp_path / "go").touch()
    done.result(timeout=WAIT_SECS)


# --- Set ----------------------------------------------------------------------------
def test_a_budget_is_set_changed_and_removed() -> None:
    assert set_budget("--owner=alice", "--tokens=5").startswith("0 of 5 tokens")
    assert set_budget("--owner=alice", "--tokens=7").startswith("0 of 7 tokens")
    assert Budget.objects.count() == 1
    assert set_budget("--owner=alice").startswith("0 of 7 tokens")
    assert set_budget("--owner=alice", "--remove=tokens") == "no budgets\n"


@pytest.mark.parametrize(
    "args",
    [
        ("--tokens=5",),
        ("--owner=alice", "--tokens=-5"),
        ("--owner=alice", "--money=much"),
        ("--owner=alice", "--per=year", "--tokens=5"),
        ("--key=spool_nokey", "--tokens=5"),
    ],
)
def test_a_bad_budget_is_refused(args: tuple[str, ...], api_keys: None) -> None:
    with pytest.raises(CommandError):
        set_budget(*args)
