from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client as Django
from langgraph.store.base import PutOp

from spool.database.tests.plans import indexes_in, plan_of
from spool.database.tests.together import at_once
from spool.store import index, vectors
from spool.store.models import StoreItem
from spool.store.tests import embedding
from spool.store.tests.clients import Client
from spool.store.tests.conftest import MakeStore
from spool.store.tests.indexing import FACTS, Configure, put_facts

# Graphs have connections of their own, and see what is committed.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("configure_index"),
]


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
    alice: Client, make_store: MakeStore, configure_index: Configure, name: str
) -> None:
    configure_index(name, fields=["text"])
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
from spool.store.tests.embedding import embed

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
    configure_index: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Like a provider's package that is installed in addition to langchain.
    (tmp_path / "langchain_ollama.py").write_text(PROVIDER)
    monkeypatch.syspath_prepend(tmp_path)
    configure_index("ollama:juice", fields=["text"])
    vectors.prepare_index()

    put_facts(alice)

    # Documents and queries are embedded by different methods of the model.
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

    sql, params = vectors.nearest(
        index_now, vector, ("a",), None, None, limit=5, offset=0
    )

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
    # Each item once, however many vectors it has; items without vectors are left out.
    assert sorted(alice.keys("a", query="cake")) == ["default", "parts", "title"]
    assert sorted(alice.keys("a")) == ["default", "missing", "none", "parts", "title"]


def test_by_default_the_whole_value_is_indexed(
    alice: Client, configure_index: Configure
) -> None:
    configure_index()
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


# --- Races ----------------------------------------------------------------------------
def test_writers_of_one_key_leave_one_value_and_its_vectors(
    make_store: MakeStore, alice: Client
) -> None:
    def write(number: int) -> None:
        parts = [f"word{number}"] * (number % 4 + 1)
        value = {"parts": parts}
        make_store("alice").put(("a",), "k", value, index=["parts[*]"])

    assert at_once([partial(write, n) for n in range(24)]) == [None] * 24

    [item] = alice.search("a")
    [word] = set(item["value"]["parts"])
    [found] = alice.search("a", query=word)
    assert found["score"] == pytest.approx(1)
    # Vectors of the writers that lost don't count, although their rows may remain.
    losers = {f"word{number}" for number in range(24)} - {word}
    assert {alice.search("a", query=one)[0]["score"] for one in losers} == {0}


def test_operators_search_by_meaning(alice: Client, admin_client: Django) -> None:
    put_facts(alice)
    query = {"owner": "alice", "path": "facts", "q": "green tea", "by": "meaning"}

    page = admin_client.get("/admin/store/storeitem/tree/", query)

    keys = [found.item.key for found in page.context["found"].rows]
    assert keys == ["tea", "cake", "coffee"]
    assert "Score" in page.content.decode()
