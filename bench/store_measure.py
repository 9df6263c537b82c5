"""The measurements of `bench.store_scale`, which need the server's environment."""

from __future__ import annotations

import json
import os
import random
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection, transaction
from langgraph.store.base import (
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from spool.bench.measure import Row, percentiles
from spool.bench.vectors import vector
from spool.config.langgraph_json import langgraph_json
from spool.store.index import Index, index_config
from spool.store.services import perform
from spool.store.vectors import SEARCH_SETTINGS, as_text, nearest, prepare_index

INDEX = {"dims": 384, "embed": "./vectors.py:embed", "fields": ["text"]}
TIMES = 300
BUDGET_MS = 10
VECTOR_BUDGET_MS = 30
RECALL = 0.95
NAMESPACES_EACH = 10

SEED = """
INSERT INTO store_items (owner, path, key, value, created_at, updated_at)
SELECT owner, 'users.u' || o || '.n' || (n / %(owners)s) %% %(namespaces)s, 'key' || n,
    jsonb_build_object(
        'n', n, 'kind', 'kind' || n %% 17, 'id', md5(n::text), 'on', n %% 2 = 0,
        'text', repeat(md5(n::text) || ' ', 8)
    ),
    now() - interval '31 days', now() - random() * interval '30 days'
FROM (
    SELECT n, n %% %(owners)s AS o, %(owner)s || CASE WHEN %(split)s
        THEN (n %% %(owners)s)::text ELSE '' END AS owner
    FROM generate_series(0, %(items)s - 1) AS n
) AS item
"""


def measure(url: str, items: int, owners: int, vectors: int) -> list[Row]:
    """The rows of the report: first with many owners, then with one for all items."""
    chance = random.Random(1)

    def of_owners() -> tuple[str, int]:
        number = chance.randrange(owners)
        return f"owner{number}", number

    def of_one() -> tuple[str, int]:
        return "shared", chance.randrange(owners)

    seed(items, owners, "owner", split=True)
    rows = [
        report(name, taken, BUDGET_MS)
        for name, taken in operations(of_owners, chance, items, owners)
    ]
    seed(items, owners, "shared", split=False)
    rows += [
        report(f"all in one owner: {name}", taken)
        for name, taken in operations(of_one, chance, items, owners)
    ]
    rows += over_http(url)
    return rows + by_meaning(vectors) if vectors else rows


def seed(items: int, owners: int, owner: str, *, split: bool) -> None:
    begun = time.perf_counter()
    sizes = {"items": items, "owners": owners, "namespaces": NAMESPACES_EACH}
    with connection.cursor() as cursor:
        cursor.execute(SEED, {**sizes, "owner": owner, "split": split})
        cursor.execute("VACUUM ANALYZE store_items")
        cursor.execute("SELECT pg_size_pretty(pg_total_relation_size('store_items'))")
        size = cursor.fetchone()[0]
    print(f"seeded in {time.perf_counter() - begun:.0f} s, {size}")


def operations(
    pick: Callable[[], tuple[str, int]], chance: random.Random, items: int, owners: int
) -> Iterator[tuple[str, list[float]]]:
    """The name of each operation, and the seconds that each of its repetitions took."""
    for name, make in kinds(chance, items, owners).items():
        taken = []
        for _ in range(TIMES):
            owner, number = pick()
            op = make(number)
            begun = time.perf_counter()
            perform(owner, op)
            taken.append(time.perf_counter() - begun)
            if sum(taken) > 20 and len(taken) > 1:  # Two values are enough.
                break
        yield name, taken


def kinds(
    chance: random.Random, items: int, owners: int
) -> dict[str, Callable[[int], Any]]:
    """The operations to measure: functions of the number of an owner."""

    def namespace(number: int) -> tuple[str, ...]:
        return ("users", f"u{number}", f"n{chance.randrange(NAMESPACES_EACH)}")

    def existing(number: int) -> tuple[tuple[str, ...], str]:
        n = chance.randrange(items // owners) * owners + number
        place = f"n{n // owners % NAMESPACES_EACH}"
        return ("users", f"u{number}", place), f"key{n}"

    value = {"text": "x" * 200, "kind": "new", "n": 1}
    new = iter(range(10**9))
    return {
        "put, new": lambda o: PutOp(namespace(o), f"new{next(new)}", value, False),
        "put, over": lambda o: PutOp(*existing(o), value, False),
        "get": lambda o: GetOp(*existing(o)),
        "search one namespace": lambda o: SearchOp(namespace(o)),
        "search a prefix": lambda o: SearchOp(("users", f"u{o}")),
        "search everything": lambda o: SearchOp(()),
        "filter =, common": lambda o: SearchOp(("users",), {"kind": "kind3"}),
        "filter =, rare": lambda o: SearchOp(
            (), {"id": "c4ca4238a0b923820dcc509a6f75849b"}
        ),
        "filter >": lambda o: SearchOp(("users", f"u{o}"), {"n": {"$gt": items // 2}}),
        "namespaces": lambda o: ListNamespacesOp(),
        "namespaces below": lambda o: ListNamespacesOp(
            (MatchCondition("prefix", ("users", f"u{o}")),)
        ),
        "namespaces, depth 2": lambda o: ListNamespacesOp(max_depth=2),
        "namespaces, suffix": lambda o: ListNamespacesOp(
            (MatchCondition("suffix", ("n7",)),)
        ),
    }


def over_http(url: str) -> list[Row]:
    def request(method: str, path: str, body: str | None = None) -> float:
        call = urllib.request.Request(
            f"{url}{path}", body.encode() if body else None, method=method
        )
        begun = time.perf_counter()
        with urllib.request.urlopen(call) as response:
            response.read()
        return time.perf_counter() - begun

    put = '{"namespace": ["bench"], "key": "k%d", "value": {"x": 1}}'
    path = "/store/items?namespace=bench&key=k1"
    body = '{"namespace_prefix": ["bench"]}'
    requests: dict[str, Callable[[int], float]] = {
        "PUT": lambda n: request("PUT", "/store/items", put % n),
        "GET": lambda n: request("GET", path),
        "search": lambda n: request("POST", "/store/items/search", body),
    }
    return [
        report(f"over HTTP: {name}", [ask(n) for n in range(TIMES)], BUDGET_MS)
        for name, ask in requests.items()
    ]


def by_meaning(count: int) -> list[Row]:
    os.environ["LANGGRAPH_STORE"] = json.dumps({"index": INDEX})
    langgraph_json.cache_clear()
    prepare_index(warn=False)
    index = index_config()
    if index is None:
        sys.exit("langgraph.json does not have the index")
    build(index, count)
    taken, found, best = [], 0, 0
    for number in range(100):
        query = vector(f"query {number}")
        begun = time.perf_counter()
        near = _nearest(index, query, exact=False)
        taken.append(time.perf_counter() - begun)
        exact = _nearest(index, query, exact=True)
        found += len(set(near) & set(exact))
        best += len(exact)
    rows = [
        report("nearest 10 vectors", taken, VECTOR_BUDGET_MS),
        Row("recall@10 against exact", found / best, "", RECALL, True),
    ]
    searches: dict[str, Callable[[int], SearchOp]] = {
        "query": lambda n: SearchOp((), query=f"query {n}"),
        "query below a prefix": lambda n: SearchOp(
            ("users", f"u{n}"), query=f"query {n}"
        ),
        "query with a filter": lambda n: SearchOp(
            (), {"kind": "kind3"}, query=f"query {n}"
        ),
    }
    return rows + [
        report(name, [_secs(make(n)) for n in range(50)], VECTOR_BUDGET_MS)
        for name, make in searches.items()
    ]


def _secs(op: SearchOp) -> float:
    begun = time.perf_counter()
    perform("shared", op)
    return time.perf_counter() - begun


def build(index: Index, count: int) -> None:
    """Create vectors for some items. The index is built last, which is much faster."""
    table, begun = index.table, time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX {table}_embedding_idx")
        cursor.execute(
            "SELECT id FROM store_items WHERE owner = 'shared' LIMIT %s", [count]
        )
        ids = [item_id for (item_id,) in cursor.fetchall()]
        for first in range(0, count, 1000):
            some = ids[first : first + 1000]
            texts = [as_text(vector(f"text {item_id}")) for item_id in some]
            cursor.execute(
                f"INSERT INTO {table} SELECT i.id, 0, owner, path, updated_at, "
                f"v::{index.kind} FROM unnest(%s::bigint[], %s::text[]) AS made (id, v) "
                "JOIN store_items AS i ON i.id = made.id",
                [some, texts],
            )
        inserted = time.perf_counter()
        cursor.execute("SET maintenance_work_mem = '1GB'")
        cursor.execute(
            f"CREATE INDEX {table}_embedding_idx ON {table} USING hnsw (embedding "
            "vector_cosine_ops) WITH (ef_construction = 128)"
        )
        cursor.execute(f"VACUUM ANALYZE {table}")
    print(
        f"{count} vectors of {index.dims}: inserted in {inserted - begun:.0f} s, "
        f"indexed in {time.perf_counter() - inserted:.0f} s"
    )


def _nearest(index: Any, query: list[float], *, exact: bool) -> list[str]:
    sql, params = nearest(index, query, (), None, None, limit=10, offset=0, exact=exact)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SEARCH_SETTINGS)
        cursor.execute(sql, {**params, "owner": "shared"})
        return [row[1] for row in cursor.fetchall()]


def report(name: str, seconds: list[float], budget: float | None = None) -> Row:
    found = percentiles(seconds)
    return Row(name, found["p50 ms"], "ms p50", budget, False, found)
