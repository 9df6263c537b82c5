"""When the model is called, how its failures are handled, how it is configured."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import connection
from langgraph.store.base import PutOp

from spool.database.loop import Loop
from spool.database.tests.together import at_once
from spool.store import index, vectors
from spool.store.models import StoreItem
from spool.store.tests import embedding
from spool.store.tests.clients import Client
from spool.store.tests.conftest import MakeStore
from spool.store.tests.indexing import EMBEDDING, Configure, asked, put_facts, reindexed

# Graphs have connections of their own, and see what is committed.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("configure_index"),
]


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

    monkeypatch.setattr("spool.store.services.embed_texts", looked)
    monkeypatch.setattr("spool.store.backend.embed_texts", looked)
    monkeypatch.setattr("spool.store.reindex.embed_texts", looked)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    put_facts(alice)
    alice.search(query="tea")
    make_store("alice").put(("a",), "k", {"text": "tea"})
    reindexed()

    assert busy == [0] * 7


def test_a_model_that_fails_is_told_without_its_words(
    alice: Client, configure_index: Configure
) -> None:
    configure_index("broken")
    vectors.prepare_index()

    response = alice.call(
        "put", "/store/items", {"namespace": ["a"], "key": "k", "value": {"text": "x"}}
    )

    assert response.status_code == 503
    assert response.json() == {"detail": "The embedding model failed: try again"}
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
    make_store: MakeStore, configure_index: Configure
) -> None:
    configure_index("broken")
    with pytest.raises(RuntimeError, match="provider is down"):
        make_store("alice").put(("a",), "k", {"text": "x"})

    configure_index("too_short")
    with pytest.raises(index.EmbeddingError, match="1 dimensions, but dims is 1024"):
        make_store("alice").put(("a",), "k", {"text": "x"})


@pytest.mark.parametrize("embed", ["exits", "gives_up", "unknown:model"])
def test_a_model_that_exits_does_not_end_the_process(
    alice: Client,
    make_store: MakeStore,
    loop: Loop,
    configure_index: Configure,
    embed: str,
) -> None:
    configure_index(embed, fields=["text"])
    body = {"namespace": ["a"], "key": "k", "value": {"text": "x"}}
    put = make_store("alice").aput(("a",), "k", {"text": "x"})

    with pytest.raises(index.EmbeddingError, match=r"store\.index"):
        loop.run(asyncio.wait_for(put, 30))
    assert alice.call("put", "/store/items", body).status_code == 503


# --- Configuration --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"dims": "64"}, "dims must be a whole number"),
        ({"dims": 5000}, "dims must be a whole number"),
        ({"embed": "model"}, "embed must be provider:model"),
        ({"embed": f"{EMBEDDING}:missing"}, "has no 'missing'"),
        ({"embed": "nowhere.py:embed"}, "does not exist"),
        ({"embed": "unknown:model"}, "store.index.embed unknown:model"),
        ({"fields": "text"}, "fields must be a list"),
    ],
)
def test_a_bad_configuration_stops_the_start(
    configure_index: Configure, wrong: dict[str, Any], problem: str
) -> None:
    configure_index(**wrong)

    with pytest.raises(SystemExit, match=problem) as stopped:
        vectors.prepare_index()
    assert len(str(stopped.value).splitlines()) == 1


def test_a_postgres_without_pgvector_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nothing:
        def execute(self, sql: str) -> None:
            """Find no row for the extension, as a Postgres that doesn't have it."""

        def fetchone(self) -> None:
            return None

    with pytest.raises(SystemExit, match="needs pgvector, and this Postgres does not"):
        vectors._require_pgvector(Nothing())


@pytest.mark.parametrize(("dims", "kind"), [(2000, "vector"), (3072, "halfvec")])
def test_long_vectors_are_kept_at_half_precision(dims: int, kind: str) -> None:
    assert index.Index(dims, "m", ("text",)).kind == f"{kind}({dims})"


def test_servers_that_start_together_make_one_table(configure_index: Configure) -> None:
    configure_index("embed_async", fields=["other"])

    assert at_once([vectors.prepare_index] * 4) == [None] * 4
    assert len(vectors.tables()) == 2
