from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from langgraph.store.base import PutOp

from config.langgraph_json import langgraph_json, load_object
from config.loop import Loop
from config.tests.plans import indexes_in, plan_of
from store import index, vectors
from store.models import StoreItem
from store.reindex import drop_tables, reindex
from store.tests import embedding
from store.tests.conftest import Client, MakeStore
from store.tests.test_concurrency import at_once

# Graphs have connections of their own, and see what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

EMBEDDING = Path(embedding.__file__)
FACTS = {
    "tea": "alice likes green tea",
    "coffee": "bob drinks black coffee",
    "cake": "chocolate cake with tea",
}

Configure = Callable[..., None]


@pytest.fixture(autouse=True)
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """A server with a semantic index of the field `text`, unless told otherwise.

    `None`: it has no index.
    """

    def write(name: str | None = "embed", **more: Any) -> None:
        embed = name if name and ":" in name else f"{EMBEDDING}:{name}"
        given = {"dims": embedding.DIMS, "embed": embed, **more}
        store = {"index": given} if name else {}
        configured = {"graphs": {"g": "g.py:g"}, "store": store}
        path = tmp_path / "langgraph.json"
        path.write_text(json.dumps(configured))
        monkeypatch.setattr("django.conf.settings.LANGGRAPH_CONFIG", path)
        langgraph_json.cache_clear()
        index.embeddings.cache_clear()

    write(fields=["text"])
    vectors.prepare_index()
    asked().clear()
    yield write
    drop_tables(kept=None)
    langgraph_json.cache_clear()


def asked() -> list[list[str]]:
    """The texts of each call of the model, which is a module of its own there."""
    return list_of("asked")


def list_of(name: str) -> list[Any]:
    found: list[Any] = load_object(f"{EMBEDDING}:{name}")
    return found


def put_facts(client: Client, *namespace: str) -> None:
    for key, text in FACTS.items():
        client.put_item([*(namespace or ("facts",))], key, {"text": text})


# --- Search ---------------------------------------------------------------------------
def test_a_query_ranks_by_meaning(alice: Client) -> None:
    put_facts(alice)

    found = alice.search("facts", query="green tea")

    assert [item["key"] for item in found] == ["tea", "cake", "coffee"]
    scores = [item["score"] for item in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert scores[0] > 0.6
    assert found[0]["value"] == {"text": FACTS["tea"]}


@pytest.mark.parametrize("name", ["embed", "embed_async"])
def test_graphs_and_clients_find_the_same(
    alice: Client, make_store: MakeStore, configure: Configure, name: str
) -> None:
    configure(name, fields=["text"])
    vectors.prepare_index()
    store = make_store("alice")
    store.batch([PutOp(("facts",), k, {"text": text}) for k, text in FACTS.items()])

    of_graph = store.search(("facts",), query="black coffee")
    of_client = alice.search("facts", query="black coffee")

    assert of_graph[0].key == "coffee"
    assert [(item.key, item.score) for item in of_graph] == [
        (item["key"], item["score"]) for item in of_client
    ]


PROVIDER = """
from langchain_core.embeddings import Embeddings
from store.tests.embedding import embed

class OllamaEmbeddings(Embeddings):
    def __init__(self, model):
        self.prefix = model + " "

    def embed_documents(self, texts):
        return embed([self.prefix + text for text in texts])

    def embed_query(self, text):
        return embed([text])[0]
"""


def test_a_model_of_a_provider_is_langchains_to_load(
    alice: Client,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As a provider's package is installed beside langchain.
    (tmp_path / "langchain_ollama.py").write_text(PROVIDER)
    monkeypatch.syspath_prepend(tmp_path)
    configure("ollama:juice", fields=["text"])
    vectors.prepare_index()

    put_facts(alice)

    # Documents and queries are embedded by the methods that are theirs.
    assert alice.search(query=f"juice {FACTS['tea']}")[0]["score"] == pytest.approx(1)


def test_the_same_text_scores_one(alice: Client) -> None:
    put_facts(alice)

    assert alice.search(query=FACTS["cake"])[0]["score"] == pytest.approx(1)


def test_a_query_keeps_to_filter_prefix_and_page(alice: Client) -> None:
    for number in range(30):
        value = {"text": "green tea", "n": number}
        alice.put_item(["a", str(number % 3)], f"{number:02}", value)
    alice.put_item(["b"], "other", {"text": "green tea", "n": 29})

    filtered = alice.keys("a", query="tea", filter={"n": {"$gte": 28}})
    below = alice.keys("a", "1", query="tea", limit=100)
    pages = [alice.keys("a", query="tea", limit=7, offset=n) for n in range(0, 35, 7)]

    assert set(filtered) == {"28", "29"}
    assert set(below) == {f"{n:02}" for n in range(1, 30, 3)}
    assert sorted(key for page in pages for key in page) == [
        f"{n:02}" for n in range(30)
    ]


def test_a_query_never_finds_other_owners_items(alice: Client, bob: Client) -> None:
    put_facts(alice)
    bob.put_item(["facts"], "bobs", {"text": "nothing of the kind"})

    assert bob.keys(query="green tea") == ["bobs"]
    assert bob.keys("facts", query="green tea", limit=1000) == ["bobs"]


def test_a_query_does_not_find_what_has_expired(alice: Client) -> None:
    put_facts(alice)
    StoreItem.objects.filter(key="tea").update(expires_at="2020-01-01T00:00:00Z")

    assert "tea" not in alice.keys(query="green tea")


def test_a_query_without_meaning_is_an_ordinary_search(alice: Client) -> None:
    put_facts(alice)

    found = alice.search("facts", query="  ")

    assert [item["key"] for item in found] == ["cake", "coffee", "tea"]
    assert {item["score"] for item in found} == {None}


def test_the_search_is_an_index_scan(alice: Client) -> None:
    index_now = index.index_config()
    assert index_now
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO store_items (owner, path, key, value) "
            "SELECT 'alice', 'a', n::text, '{}' FROM generate_series(1, 600) AS n"
        )
        cursor.execute(
            f"INSERT INTO {index_now.table} "
            "SELECT id, 0, owner, path, updated_at, "
            "array(SELECT random() + id * 0 FROM generate_series(1, 1024))::vector "
            "FROM store_items"
        )
        cursor.execute(f"ANALYZE {index_now.table}")
        cursor.execute("ANALYZE store_items")
    vector = [1.0] * embedding.DIMS

    sql, params = vectors.nearest(index_now, vector, ("a",), None, limit=5, offset=0)

    assert f"{index_now.table}_embedding_idx" in indexes_in(
        plan_of(sql, {**params, "owner": "alice"})
    )


# --- What is indexed ------------------------------------------------------------------
def test_an_item_says_which_fields_find_it(alice: Client) -> None:
    value = {"text": "tea", "title": "coffee", "parts": [{"t": "cake"}, {"t": "pie"}]}
    alice.put_item(["a"], "default", value)
    alice.put_item(["a"], "title", value, index=["title"])
    alice.put_item(["a"], "parts", value, index=["parts[*].t"])
    alice.put_item(["a"], "none", value, index=False)
    alice.put_item(["a"], "missing", value, index=["nowhere"])

    best = {word: alice.search("a", query=word)[0] for word in ("tea", "coffee", "pie")}
    assert {word: item["key"] for word, item in best.items()} == {
        "tea": "default",
        "coffee": "title",
        "pie": "parts",
    }
    assert [item["score"] for item in best.values()] == pytest.approx([1, 1, 1])
    # Each once, however many vectors it has; and without one not at all.
    assert sorted(alice.keys("a", query="cake")) == ["default", "parts", "title"]
    assert sorted(alice.keys("a")) == ["default", "missing", "none", "parts", "title"]


def test_by_default_the_whole_value_is_indexed(
    alice: Client, configure: Configure
) -> None:
    configure()
    vectors.prepare_index()
    alice.put_item(["a"], "k", {"drink": "tea"})

    assert alice.search(query="tea drink")[0]["score"] == pytest.approx(1)


def test_a_put_replaces_the_vectors(alice: Client) -> None:
    alice.put_item(
        ["a"], "k", {"text": "tea", "more": ["tea", "pie"]}, index=["more[*]"]
    )
    alice.put_item(["a"], "k", {"text": "coffee"})

    assert alice.search(query="coffee")[0]["score"] == pytest.approx(1)
    assert alice.search(query="pie")[0]["score"] < 0.5

    alice.put_item(["a"], "k", {"text": "coffee"}, index=False)
    assert alice.search(query="coffee") == []


def test_vectors_go_with_their_item(alice: Client) -> None:
    put_facts(alice)
    alice.call("delete", "/store/items", {"namespace": ["facts"], "key": "tea"})
    StoreItem.objects.filter(key="cake").delete()

    assert alice.keys(query="tea") == ["coffee"]
    table = vectors.tables()[0]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert cursor.fetchone() == (1,)


# --- The model ------------------------------------------------------------------------
def test_a_batch_is_one_call_of_the_model(make_store: MakeStore) -> None:
    store = make_store("alice")
    puts = [PutOp(("a",), str(n), {"text": f"tea {n}"}) for n in range(50)]

    store.batch(puts)

    assert [len(texts) for texts in asked()] == [50]


def test_many_texts_are_several_calls(make_store: MakeStore) -> None:
    store = make_store("alice")
    puts = [PutOp(("a",), str(n), {"text": f"tea {n}"}) for n in range(250)]

    store.batch(puts)

    assert [len(texts) for texts in asked()] == [100, 100, 50]
    assert len(store.search(("a",), query="tea", limit=1000)) == 250


def test_the_model_is_not_asked_for_nothing(make_store: MakeStore) -> None:
    store = make_store("alice")
    store.put(("a",), "k", {"text": " "})
    store.put(("a",), "k", {"text": "tea"}, index=False)
    store.search(("a",))
    store.get(("a",), "k")

    assert asked() == []


def test_the_model_never_works_inside_a_transaction(
    alice: Client, make_store: MakeStore, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: list[int] = []

    async def looked(*args: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                "current_database() AND xact_start IS NOT NULL AND pid <> "
                "pg_backend_pid() AND backend_type = 'client backend'"
            )
            busy.append(cursor.fetchone()[0])
        connection.close()
        return await index.embed_texts(*args)

    monkeypatch.setattr("store.services.embed_texts", looked)
    monkeypatch.setattr("store.backend.embed_texts", looked)
    monkeypatch.setattr("store.reindex.embed_texts", looked)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    put_facts(alice)
    alice.search(query="tea")
    make_store("alice").put(("a",), "k", {"text": "tea"})
    reindexed()

    assert busy == [0] * 7


def test_a_model_that_fails_is_told_without_its_words(
    alice: Client, configure: Configure
) -> None:
    configure("broken")
    vectors.prepare_index()

    response = alice.call(
        "put", "/store/items", {"namespace": ["a"], "key": "k", "value": {"text": "x"}}
    )

    assert response.status_code == 503
    assert response.json() == {"detail": "The embedding model failed, try again"}
    assert not StoreItem.objects.exists()


def test_a_text_that_fails_is_known_to_who_put_it_alone(
    make_store: MakeStore, loop: Loop
) -> None:
    store = make_store("alice")

    async def both() -> Any:
        return await asyncio.gather(
            store.aput(("a",), "bad", {"text": embedding.REFUSED}),
            store.aput(("a",), "good", {"text": "tea"}),
            return_exceptions=True,
        )

    refused, put = loop.run(both())

    assert isinstance(refused, ValueError)
    assert put is None
    assert [item.key for item in store.search(("a",))] == ["good"]


def test_a_model_that_fails_is_the_graphs_to_know(
    make_store: MakeStore, configure: Configure
) -> None:
    configure("broken")
    with pytest.raises(RuntimeError, match="provider is down"):
        make_store("alice").put(("a",), "k", {"text": "x"})

    configure("too_short")
    with pytest.raises(index.EmbeddingError, match="1 dimensions, but dims is 1024"):
        make_store("alice").put(("a",), "k", {"text": "x"})


@pytest.mark.parametrize("embed", ["exits", "gives_up", "nobody:model"])
def test_a_model_that_exits_takes_nobody_along(
    alice: Client,
    make_store: MakeStore,
    loop: Loop,
    configure: Configure,
    embed: str,
) -> None:
    configure(embed, fields=["text"])
    body = {"namespace": ["a"], "key": "k", "value": {"text": "x"}}
    put = make_store("alice").aput(("a",), "k", {"text": "x"})

    with pytest.raises(index.EmbeddingError, match=r"store\.index"):
        loop.run(asyncio.wait_for(put, 30))
    assert alice.call("put", "/store/items", body).status_code == 503


# --- Races ----------------------------------------------------------------------------
def test_writers_of_one_key_leave_one_value_and_its_vectors(
    make_store: MakeStore, alice: Client
) -> None:
    def write(number: int) -> None:
        parts = [f"word{number}"] * (number % 4 + 1)
        value = {"parts": parts}
        make_store("alice").put(("a",), "k", value, index=["parts[*]"])

    assert at_once(24, write) == [None] * 24

    [item] = alice.search("a")
    [word] = set(item["value"]["parts"])
    [found] = alice.search("a", query=word)
    assert found["score"] == pytest.approx(1)
    # No vector of a writer who lost still counts, though its row may be there.
    losers = {f"word{number}" for number in range(24)} - {word}
    assert {alice.search("a", query=one)[0]["score"] for one in losers} == {0}


# --- Re-indexing ----------------------------------------------------------------------
def reindexed() -> list[tuple[int, int]]:
    """Re-index; returns what the progress bar was told."""
    told: list[tuple[int, int]] = []
    current = index.index_config()
    assert current
    reindex(current, tell=lambda done, total: told.append((done, total)), batch=2)
    return told


def test_a_new_configuration_finds_older_items_once_they_are_indexed(
    alice: Client, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    put_facts(alice)
    alice.put_item(["facts"], "unindexed", {"text": "tea"}, index=False)
    alice.put_item(["facts"], "own", {"other": "juice"}, index=["other"])
    configure("embed_async", fields=["text"])
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
    alice: Client, configure: Configure, caplog: pytest.LogCaptureFixture
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
    alice: Client, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(None)
    vectors.prepare_index()
    put_facts(alice)

    configure(fields=["text"])
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

    monkeypatch.setattr("store.reindex.embed_texts", slow)
    reindexed()

    assert alice.search(query="juice")[0]["score"] == pytest.approx(1)
    assert alice.search(query="juice")[0]["key"] == "tea"


def test_reindexing_never_waits_in_a_ring_with_writers(
    make_store: MakeStore,
) -> None:
    keys = [f"{n:03}" for n in range(150)]
    # Kept in another order than that of their keys.
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
        try:
            for _ in range(4):
                reindex(current, tell=lambda done, total: None)
        finally:
            connection.close()

    assert at_once(4, work) == [None] * 4


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


# --- Configuration --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"dims": "64"}, "dims must be a whole number"),
        ({"dims": 5000}, "dims must be a whole number"),
        ({"embed": "model"}, "embed must be provider:model"),
        ({"embed": f"{EMBEDDING}:missing"}, "has no 'missing'"),
        ({"embed": "nowhere.py:embed"}, "there is no file"),
        ({"embed": "nobody:model"}, "store.index.embed nobody:model"),
        ({"fields": "text"}, "fields must be a list"),
    ],
)
def test_a_bad_configuration_stops_the_start(
    configure: Configure, wrong: dict[str, Any], problem: str
) -> None:
    configure(**wrong)

    with pytest.raises(SystemExit, match=problem) as stopped:
        vectors.prepare_index()
    assert len(str(stopped.value).splitlines()) == 1


def test_a_postgres_without_pgvector_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nothing:
        def execute(self, sql: str) -> None:
            """A Postgres that has no such extension has no row for it."""

        def fetchone(self) -> None:
            return None

    with pytest.raises(SystemExit, match="needs pgvector, and this Postgres does not"):
        vectors._require_pgvector(Nothing())


@pytest.mark.parametrize(("dims", "kind"), [(2000, "vector"), (3072, "halfvec")])
def test_long_vectors_are_kept_at_half_precision(dims: int, kind: str) -> None:
    assert index.Index(dims, "m", ("text",)).kind == f"{kind}({dims})"


def test_servers_that_start_together_make_one_table(configure: Configure) -> None:
    configure("embed_async", fields=["other"])

    def start(number: int) -> None:
        try:
            vectors.prepare_index()
        finally:
            connection.close()

    assert at_once(4, start) == [None] * 4
    assert len(vectors.tables()) == 2
