from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.db.models.functions import Now

from spool.access.tests.people import Client
from spool.config.langgraph_json import langgraph_json
from spool.database.tests.together import at_once
from spool.telemetry.metrics import as_prometheus
from spool.threads.models import Thread
from spool.threads.services import prune_state
from spool.threads.sweeping import sweep
from spool.threads.tasks import sweep as sweep_task
from spool.threads.tests.making import make
from spool.threads.tests.running import checkpoint_rows, make_thread
from spool.threads.ttl import TTLConfig, ttl_config

pytestmark = pytest.mark.django_db(transaction=True)

Configure = Callable[[Any], None]
NOTHING = {"expired": 0, "pruned": 0, "discarded": 0}


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Serve with this `checkpointer.ttl` in langgraph.json."""

    def configure(ttl: Any) -> None:
        monkeypatch.setenv("LANGGRAPH_CHECKPOINTER", json.dumps({"ttl": ttl}))
        langgraph_json.cache_clear()

    yield configure
    langgraph_json.cache_clear()


def expire(thread: Thread, **columns: Any) -> None:
    past = Now() - timedelta(minutes=1)
    columns = {"ttl_minutes": 5, "expires_at": past, **columns}
    Thread.objects.filter(pk=thread.pk).update(**columns)


def lifetime(thread: Thread) -> timedelta:
    thread.refresh_from_db()
    assert thread.expires_at is not None
    return thread.expires_at - thread.created_at


# --- Configuration --------------------------------------------------------------------
def test_nothing_is_configured() -> None:
    assert ttl_config() == TTLConfig()


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_empty_configuration(configure: Configure, nothing: Any) -> None:
    configure(nothing)

    assert ttl_config() == TTLConfig()


def test_everything_is_configured(configure: Configure) -> None:
    configure(
        {
            "strategy": "keep_latest",
            "default_ttl": 43200,
            "sweep_interval_minutes": 10,
            "sweep_limit": 500,
        }
    )

    assert ttl_config() == TTLConfig(43200, "keep_latest", timedelta(minutes=10), 500)


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        {"strategy": "archive"},
        {"default_ttl": "1h"},
        {"default_ttl": 0},
        {"default_ttl": True},
        {"sweep_interval_minutes": -1},
        {"sweep_limit": []},
    ],
)
def test_a_configuration_that_makes_no_sense_stops_the_start(
    configure: Configure, wrong: Any
) -> None:
    configure(wrong)

    with pytest.raises(SystemExit, match=r"checkpointer\.ttl[ .]"):
        ttl_config()


def test_a_new_thread_gets_the_configured_ttl(
    alice_client: Client, configure: Configure
) -> None:
    configure({"default_ttl": 60, "strategy": "keep_latest"})

    by_default = alice_client.call("post", "/threads", {}).json()
    its_own = alice_client.call("post", "/threads", {"ttl": {"ttl": 5}}).json()

    default = Thread.objects.get(pk=by_default["thread_id"])
    own = Thread.objects.get(pk=its_own["thread_id"])
    assert lifetime(default) == timedelta(minutes=60)
    assert default.ttl_strategy == "keep_latest"
    assert lifetime(own) == timedelta(minutes=5)
    assert own.ttl_strategy == "delete"


def test_a_copy_lives_as_long(alice_client: Client) -> None:
    body = {"ttl": {"ttl": 5, "strategy": "keep_latest"}}
    source = alice_client.call("post", "/threads", body).json()

    row = alice_client.call("post", f"/threads/{source['thread_id']}/copy").json()

    copy = Thread.objects.get(pk=row["thread_id"])
    assert lifetime(copy) == timedelta(minutes=5)
    assert copy.ttl_strategy == "keep_latest"


# --- Shown and changed ----------------------------------------------------------------
@pytest.mark.parametrize(
    "include", ["include=unknown,ttl", "include=a&include=ttl", 'include=["a", "ttl"]']
)
def test_ttl_is_shown_when_asked_for(alice_client: Client, include: str) -> None:
    made = make(alice_client, ttl={"ttl": 2, "strategy": "keep_latest"})
    path = f"/threads/{made['thread_id']}"

    plain = alice_client.call("get", path).json()
    shown = alice_client.call("get", f"{path}?{include}").json()

    assert "ttl" not in plain
    assert shown["ttl"]["strategy"] == "keep_latest"
    assert shown["ttl"]["ttl_minutes"] == 2
    assert shown["ttl"]["expires_at"] > made["created_at"]


def test_ttl_is_changed(alice_client: Client) -> None:
    made = make(alice_client)
    path = f"/threads/{made['thread_id']}"

    before = alice_client.call("get", f"{path}?include=ttl&include=values").json()
    alice_client.call("patch", path, {"ttl": {"ttl": 0.5}})
    after = alice_client.call("get", f"{path}?include=ttl").json()
    refused = alice_client.call("patch", path, {"ttl": 7})

    assert before["ttl"] is None
    assert after["ttl"]["ttl_minutes"] == 0.5
    assert after["ttl"]["strategy"] == "delete"
    assert refused.status_code == 422


# --- The sweep ------------------------------------------------------------------------
def test_expired_threads_are_deleted_with_their_state() -> None:
    expired, living = (make_thread("human", {"topic": "t"}) for _ in range(2))
    expire(expired)
    expire(living, expires_at=Now() + timedelta(minutes=1))

    swept = sweep()

    assert swept == {**NOTHING, "expired": 1}
    assert list(Thread.objects.all()) == [living]
    assert set(checkpoint_rows(expired).values()) == {0}
    assert checkpoint_rows(living)["checkpoints"] > 0


def test_old_state_is_pruned_and_its_time_begins_anew() -> None:
    thread = make_thread("slow", {"delay": 0})
    expire(thread, ttl_strategy="keep_latest")

    first, second = sweep(), sweep()

    assert first == {**NOTHING, "pruned": 1}
    assert second == NOTHING
    assert checkpoint_rows(thread)["checkpoints"] == 1
    assert lifetime(thread) > timedelta(minutes=4)


def test_a_thread_that_cant_be_pruned_does_not_delay_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thread, other = (
        make_thread("delta", {"log": ["a"]}),
        make_thread("slow", {"delay": 0}),
    )
    before = checkpoint_rows(thread)
    expire(thread, ttl_strategy="keep_latest")
    expire(other, ttl_strategy="keep_latest")

    swept = sweep()

    assert swept == {**NOTHING, "pruned": 1}
    assert checkpoint_rows(thread) == before
    assert checkpoint_rows(other)["checkpoints"] == 1
    assert f"thread {thread.id} was not pruned" in caplog.text


def test_a_killed_sweep_forgets_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [make_thread("slow", {"delay": 0}) for _ in range(3)]
    for thread in threads:
        expire(thread, ttl_strategy="keep_latest")

    with monkeypatch.context() as patch:
        patch.setattr("spool.threads.sweeping.prune_state", prune_one_and_die())
        with pytest.raises(SystemExit):
            sweep()
    sweep()

    assert checkpoint_rows(*threads)["checkpoints"] == 3


def prune_one_and_die() -> Callable[[Any], bool]:
    pruned: list[Any] = []

    def prune(thread_id: Any) -> bool:
        if pruned:
            raise SystemExit("killed")
        pruned.append(thread_id)
        return prune_state(thread_id)

    return prune


@pytest.mark.parametrize("strategy", ["delete", "keep_latest"])
def test_a_thread_in_flight_waits_for_the_end_of_its_run(strategy: str) -> None:
    thread = Thread.objects.create(status="busy")
    expire(thread, ttl_strategy=strategy)

    assert sweep() == NOTHING
    assert Thread.objects.exists()


def test_discarded_threads_go_once_no_client_can_return(
    settings: LazySettings,
) -> None:
    settings.RESUMABLE_STREAM_TTL_SECONDS = 120
    old, fresh = Thread.objects.create(), Thread.objects.create()
    Thread.objects.filter(pk=old.pk).update(discarded_at=Now() - timedelta(seconds=121))
    Thread.objects.filter(pk=fresh.pk).update(
        discarded_at=Now() - timedelta(seconds=60)
    )

    assert sweep() == {**NOTHING, "discarded": 1}
    assert list(Thread.objects.all()) == [fresh]


def test_a_sweep_takes_as_many_as_it_is_told(configure: Configure) -> None:
    configure({"sweep_limit": 3})
    for _ in range(5):
        expire(Thread.objects.create())

    assert sweep()["expired"] == 3
    assert sweep()["expired"] == 2


def test_a_sweep_takes_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spool.threads.sweeping.BATCH", 2)
    for _ in range(5):
        expire(Thread.objects.create())
    for _ in range(3):
        expire(Thread.objects.create(), ttl_strategy="keep_latest")

    assert sweep() == {**NOTHING, "expired": 5, "pruned": 3}


def test_a_sweep_ends_when_its_time_is_up() -> None:
    expire(Thread.objects.create())

    assert sweep(seconds=0) == NOTHING


def test_a_sweep_waits_for_no_lock() -> None:
    held, free = Thread.objects.create(), Thread.objects.create()
    expire(held)
    expire(free)

    def sweep_elsewhere() -> dict[str, int]:
        try:
            return sweep()
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as threads:
        Thread.objects.select_for_update().get(pk=held.pk)
        swept = threads.submit(sweep_elsewhere).result(timeout=30)

    assert swept["expired"] == 1
    assert list(Thread.objects.all()) == [held]


def test_sweeps_at_once_count_each_thread_once() -> None:
    for _ in range(40):
        expire(Thread.objects.create())

    swept = at_once([lambda: sweep()["expired"]] * 4)

    assert sum(swept) == 40
    assert not Thread.objects.exists()
    assert b'spool_swept_threads_total{kind="expired"} 40.0' in as_prometheus()


def test_a_sweep_says_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sweep_task()
    silent = caplog.text
    expire(Thread.objects.create())

    sweep_task()

    assert "swept" not in silent
    assert "swept threads: 1 expired, 0 pruned" in caplog.text
    figures = as_prometheus()
    assert b'spool_swept_threads_total{kind="expired"} 1.0' in figures
    assert b'spool_table_bytes{table="checkpoint_blobs"}' in figures
