from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from langgraph.store.base import GetOp, PutOp, SearchOp

from spool.config.langgraph_json import langgraph_json
from spool.database.loop import Loop
from spool.database.tests.plans import indexes_in, plan_of
from spool.database.tests.together import at_once
from spool.store.models import StoreItem
from spool.store.sweep import sweep_items
from spool.store.tasks import sweep
from spool.store.tests.clients import Client
from spool.store.tests.conftest import MakeStore
from spool.store.ttl import ttl_config
from spool.telemetry.metrics import as_prometheus

# Graphs have connections of their own, and see what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

Configure = Callable[..., None]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Serve with this `store.ttl` in langgraph.json."""

    def write(ttl: Any) -> None:
        path = tmp_path / "langgraph.json"
        config = {"graphs": {"g": "g.py:g"}, "store": {"ttl": ttl}}
        path.write_text(json.dumps(config))
        monkeypatch.setattr("django.conf.settings.LANGGRAPH_CONFIG", path)
        langgraph_json.cache_clear()

    yield write
    langgraph_json.cache_clear()


def minutes_left(key: str) -> Any:
    """The item's minutes to live, as stored and as calculated from its expiry."""
    item = StoreItem.objects.get(key=key)
    if item.expires_at is None:
        return item.ttl_minutes, None
    lives = item.expires_at - item.updated_at
    return item.ttl_minutes, round(lives.total_seconds() / 60, 1)


def pass_minutes(minutes: float) -> None:
    """Let time pass for every item that expires."""
    later = F("expires_at") - timedelta(minutes=minutes)
    StoreItem.objects.update(expires_at=later)


# --- Configuration --------------------------------------------------------------------
def test_without_configuration_items_stay(alice: Client) -> None:
    alice.put_item(["a"], "k", {})

    assert minutes_left("k") == (None, None)


def test_the_default_holds_where_none_is_given(
    alice: Client, configure: Configure
) -> None:
    configure({"default_ttl": 30})

    alice.put_item(["a"], "default", {})
    alice.put_item(["a"], "own", {}, ttl=5.5)
    alice.put_item(["a"], "never", {}, ttl=None)

    assert minutes_left("default") == (30, 30)
    assert minutes_left("own") == (5.5, 5.5)
    assert minutes_left("never") == (None, None)


def test_the_default_holds_for_graphs(
    make_store: MakeStore, configure: Configure
) -> None:
    configure({"default_ttl": 30})
    store = make_store("alice")

    store.put(("a",), "default", {})
    store.put(("a",), "own", {}, ttl=5.5)
    store.put(("a",), "never", {}, ttl=None)

    assert minutes_left("default") == (30, 30)
    assert minutes_left("own") == (5.5, 5.5)
    assert minutes_left("never") == (None, None)


def test_a_put_gives_an_item_its_time_anew(alice: Client) -> None:
    alice.put_item(["a"], "k", {}, ttl=5)
    pass_minutes(4)

    alice.put_item(["a"], "k", {}, ttl=10)
    assert minutes_left("k") == (10, 10)

    alice.put_item(["a"], "k", {})
    assert minutes_left("k") == (None, None)


def test_reads_refresh_only_where_that_is_configured(
    alice: Client, make_store: MakeStore, configure: Configure
) -> None:
    configure({"refresh_on_read": False})
    alice.put_item(["a"], "k", {}, ttl=5)
    make_store("alice").put(("a",), "of graph", {}, ttl=5)
    pass_minutes(3)

    alice.item("a", "k")
    alice.search("a")
    make_store("alice").get(("a",), "of graph")
    make_store("alice").search(("a",))
    assert (minutes_left("k"), minutes_left("of graph")) == ((5, 2), (5, 2))

    alice.item("a", "k", refresh_ttl="true")
    make_store("alice").get(("a",), "of graph", refresh_ttl=True)
    assert (minutes_left("k"), minutes_left("of graph")) == ((5, 5), (5, 5))


@pytest.mark.parametrize(
    ("ttl", "problem"),
    [
        ([1], "must be an object"),
        ("soon", "must be an object"),
        ({"default_ttl": 0}, "default_ttl must be a positive number"),
        ({"default_ttl": "1"}, "default_ttl must be a positive number"),
        ({"default_ttl": True}, "default_ttl must be a positive number"),
        ({"sweep_interval_minutes": -1}, "sweep_interval_minutes must be a positive"),
        ({"refresh_on_read": "no"}, "refresh_on_read must be true or false"),
    ],
)
def test_a_bad_configuration_stops_the_process(
    configure: Configure, ttl: Any, problem: str
) -> None:
    configure(ttl)

    with pytest.raises(SystemExit, match=problem):
        ttl_config()


# --- Reads of a graph -----------------------------------------------------------------
def test_what_has_expired_is_not_there(make_store: MakeStore) -> None:
    store = make_store("alice")
    store.put(("a",), "k", {}, ttl=5)
    pass_minutes(5)

    results = store.batch([GetOp(("a",), "k"), SearchOp(("a",))])

    assert results == [None, []]
    assert store.list_namespaces() == []
    # Reading does not bring it back.
    assert minutes_left("k") == (5, 0)


def test_a_batch_refreshes_what_it_read(make_store: MakeStore) -> None:
    store = make_store("alice")
    store.batch([PutOp(("a",), key, {}, ttl=5) for key in ("read", "other")])
    store.put(("b",), "found", {}, ttl=5)
    pass_minutes(3)

    store.batch(
        [
            GetOp(("a",), "read"),
            GetOp(("a",), "other", refresh_ttl=False),
            SearchOp(("b",)),
        ]
    )

    refreshed = {key: minutes_left(key)[1] for key in ("read", "found", "other")}
    assert refreshed == {"read": 5, "found": 5, "other": 2}


# --- Sweep ----------------------------------------------------------------------------
def test_sweep_deletes_what_has_expired(
    alice: Client, bob: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        alice.put_item(["a"], f"gone {number}", {}, ttl=5)
    bob.put_item(["a"], "gone", {}, ttl=5)
    pass_minutes(5)
    alice.put_item(["a"], "later", {}, ttl=5)
    alice.put_item(["a"], "stays", {})

    with caplog.at_level(logging.INFO):
        assert sweep_items(batch=2) == 6

    assert set(StoreItem.objects.values_list("key", flat=True)) == {"later", "stays"}
    assert "deleted 6 items" in caplog.text


def test_sweep_works_in_batches(alice: Client) -> None:
    for number in range(5):
        alice.put_item(["a"], f"gone {number}", {}, ttl=5)
    pass_minutes(5)

    with CaptureQueriesContext(connection) as statements:
        sweep_items(batch=2)

    assert len(statements) == 3


def test_sweep_is_a_task_that_workers_know() -> None:
    current_app.loader.import_default_modules()

    sweep()

    assert sweep.name == "store.tasks.sweep"
    assert sweep.name in current_app.tasks


def test_sweep_looks_only_at_what_ends(alice: Client) -> None:
    StoreItem.objects.bulk_create(
        StoreItem(owner="o", path="p", key=str(n), value={}) for n in range(2000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE store_items")

    plan = plan_of("SELECT id FROM store_items WHERE expires_at <= now()")

    assert "store_items_expiring" in indexes_in(plan)


def test_metrics_tell_what_the_sweep_has_still_to_do(alice: Client) -> None:
    for number in range(3):
        alice.put_item(["a"], str(number), {}, ttl=5)
    alice.put_item(["a"], "stays", {})
    pass_minutes(5)

    assert b"spool_store_items_expired 3.0" in as_prometheus()
    sweep_items()
    assert b"spool_store_items_expired 0.0" in as_prometheus()


def test_sweeps_beside_reads_and_writes(make_store: MakeStore, loop: Loop) -> None:
    store = make_store("alice")
    keys = [str(n) for n in range(100)]
    store.batch([PutOp(("a",), key, {"n": 0}, ttl=5) for key in keys])
    pass_minutes(5)

    def work(number: int) -> Any:
        if number % 4 == 0:
            return sweep_items(batch=7)
        if number % 4 == 1:
            return store.batch([PutOp(("a",), key, {"n": 1}) for key in keys[50:]])
        found = store.search(("a",), limit=100)
        return store.batch([GetOp(("a",), item.key) for item in found])

    results = at_once([partial(work, n) for n in range(16)])

    assert [result for result in results if isinstance(result, Exception)] == []
    # Items that were written again are kept, and others are deleted.
    sweep_items()
    stored = StoreItem.objects.values_list("key", flat=True)
    assert set(stored) == set(keys[50:])
