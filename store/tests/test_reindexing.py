from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from langgraph.store.base import PutOp

from spool.config.langgraph_json import langgraph_json
from spool.database.tests.together import at_once
from spool.store import index, vectors
from spool.store.models import StoreItem
from spool.store.reindex import drop_tables, reindex
from spool.store.tests.clients import Client
from spool.store.tests.conftest import MakeStore
from spool.store.tests.indexing import FACTS, Configure, put_facts, reindexed

# Graphs have connections of their own, and see what is committed.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("configure_index"),
]


def test_a_new_configuration_finds_older_items_once_they_are_indexed(
    alice: Client, configure_index: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    put_facts(alice)
    alice.put_item(["facts"], "unindexed", {"text": "tea"}, index=False)
    alice.put_item(["facts"], "own", {"other": "juice"}, index=["other"])
    configure_index("embed_async", fields=["text"])
    vectors.prepare_index()
    assert "reindex_store" in caplog.text
    assert alice.keys(query="tea") == []

    output = StringIO()
    call_command("reindex_store", stdout=output)

    assert set(alice.keys(query="tea")) == {*FACTS, "own"}
    assert alice.search(query="juice")[0]["key"] == "own"
    assert "5 of 5 items" in output.getvalue()
    current = index.index_config()
    assert current
    assert vectors.tables() == [current.table]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        vectors.prepare_index()
    assert caplog.text == ""


def test_each_start_warns_until_older_items_are_indexed(
    alice: Client, configure_index: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    drop_tables(kept=None)
    StoreItem.objects.create(owner="alice", path="facts", key="tea", value={})
    vectors.prepare_index()

    caplog.clear()
    vectors.prepare_index()
    assert "reindex_store" in caplog.text

    reindexed()
    caplog.clear()
    vectors.prepare_index()
    assert caplog.text == ""


def test_an_index_that_comes_back_lacks_what_was_put_meanwhile(
    alice: Client, configure_index: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure_index(None)
    vectors.prepare_index()
    put_facts(alice)

    configure_index(fields=["text"])
    vectors.prepare_index()
    assert "reindex_store" in caplog.text
    assert alice.keys(query="tea") == []

    reindexed()
    assert set(alice.keys(query="tea")) == {*FACTS}


def test_reindexing_tells_how_far_it_is(alice: Client) -> None:
    put_facts(alice)

    assert reindexed() == [(0, 3), (2, 3), (3, 3)]


def test_reindexing_reads_numbers_that_no_double_holds(alice: Client) -> None:
    alice.put_item(["a"], "k", {"text": "tea", "n": 10**400})

    reindexed()

    assert alice.keys(query="tea") == ["k"]


def test_reindexing_leaves_what_changed_meanwhile(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_facts(alice)
    embed_texts = index.embed_texts

    async def slow(*args: Any) -> Any:
        made = await embed_texts(*args)
        await to_thread(lambda: alice.put_item(["facts"], "tea", {"text": "juice"}))
        return made

    monkeypatch.setattr("spool.store.reindex.embed_texts", slow)
    reindexed()

    assert alice.search(query="juice")[0]["score"] == pytest.approx(1)
    assert alice.search(query="juice")[0]["key"] == "tea"


def test_reindexing_never_waits_in_a_ring_with_writers(
    make_store: MakeStore,
) -> None:
    keys = [f"{n:03}" for n in range(150)]
    # The rows are stored in another order than that of their keys.
    store = make_store("alice")
    for key in reversed(keys):
        store.put(("a",), key, {"text": key})

    def work(number: int) -> Any:
        if number % 2:
            puts = [PutOp(("a",), key, {"text": f"tea {number}"}) for key in keys]
            for _ in range(4):
                make_store("alice").batch(puts)
            return None
        current = index.index_config()
        assert current
        for _ in range(4):
            reindex(current, report=lambda done, total: None)

    assert at_once([partial(work, n) for n in range(4)]) == [None] * 4


async def to_thread(call: Callable[[], Any]) -> None:
    def work() -> None:
        call()
        connection.close()

    await asyncio.to_thread(work)


def test_without_configuration_reindexing_drops_the_vectors(
    alice: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_facts(alice)
    (tmp_path / "langgraph.json").write_text('{"graphs": {"g": "g.py:g"}}')
    langgraph_json.cache_clear()

    call_command("reindex_store", stdout=StringIO())

    assert vectors.tables() == []
    assert {item["score"] for item in alice.search(query="tea")} == {None}
