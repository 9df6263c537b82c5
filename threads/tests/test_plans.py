"""Searches use indexes: the query plans of the API's real queries."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test import Client as AdminClient
from django.test.utils import CaptureQueriesContext

from spool.access.policy import EVERYTHING, Scope
from spool.access.tests.people import Client
from spool.database.tests.plans import indexes_in, kinds_in, plan_of
from spool.threads.models import Thread
from spool.threads.serializers import SORTABLE

# 20 owners with 250 threads each, interleaved as if created concurrently.
SEED = """
INSERT INTO threads (id, status, resting_status, metadata, config, created_at,
    updated_at, state_updated_at, ttl_strategy)
SELECT gen_random_uuid(),
    CASE n % 100 WHEN 0 THEN 'busy' WHEN 1 THEN 'error' ELSE 'idle' END, 'idle',
    jsonb_build_object('owner', CASE WHEN n % 20 = 0 THEN 'alice'
        ELSE 'owner' || n % 20 END, 'ticket', n, 'graph_id', 'echo'),
    '{}', at, at + n % 97 * interval '1 minute', at + n % 89 * interval '1 minute',
    'delete'
FROM generate_series(1, 5000) n,
    LATERAL (SELECT now() - n * interval '1 minute' AS at) AS made
"""


@pytest.fixture
def _many_threads(db: None) -> None:
    with connection.cursor() as cursor:
        # Make rows take as much space as real ones: few pages are read as a whole.
        cursor.execute("ALTER TABLE threads SET (fillfactor = 10)")
        cursor.execute(SEED)
        # Autovacuum does this after so many rows, but not within a transaction.
        cursor.execute("SELECT gin_clean_pending_list('threads_metadata')")
        cursor.execute("ANALYZE threads")


def kinds_of_request(client: Any, path: str, body: dict[str, Any]) -> set[str]:
    """The kinds of nodes in the plan of a request's query over threads."""
    with CaptureQueriesContext(connection) as queries:
        response = client.call("post", path, body)
    assert response.status_code == 200, response.content
    [asked] = [query for query in queries if "threads" in query["sql"]]
    params: Any = asked.get("params")
    return kinds_in(plan_of(asked["sql"], params))


@pytest.mark.parametrize("sort_order", ["asc", "desc"])
@pytest.mark.parametrize("sort_by", SORTABLE)
@pytest.mark.parametrize(
    "asked",
    [{}, {"metadata": {"ticket": 3000}}, {"status": "error"}],
    ids=["owner", "metadata", "status"],
)
@pytest.mark.usefixtures("_many_threads")
def test_an_owners_search_reads_an_index(
    alice_client: Client, asked: dict[str, Any], sort_by: str, sort_order: str
) -> None:
    order = {"sort_by": sort_by, "sort_order": sort_order}

    kinds = kinds_of_request(alice_client, "/threads/search", {**asked, **order})

    assert "Seq Scan" not in kinds


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(
    "field", ["id", "status", "created_at", "updated_at", "state_updated_at"]
)
@pytest.mark.parametrize("owner", [Q(), Q(owner="owner1")], ids=["all", "owner"])
@pytest.mark.usefixtures("_many_threads")
def test_a_sorted_page_is_read_without_sorting(
    owner: Q, field: str, descending: bool
) -> None:
    threads = Thread.objects.visible_to(Scope(rows=owner))

    with CaptureQueriesContext(connection) as queries:
        list(threads.in_order(field, descending=descending)[:10])

    kinds = kinds_in(plan_of(queries[0]["sql"]))
    assert kinds == {"Limit", "Index Scan"}


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.usefixtures("_many_threads")
def test_a_filter_by_status_is_read_without_sorting(descending: bool) -> None:
    threads = Thread.objects.visible_to(EVERYTHING).filter(status="error")

    with CaptureQueriesContext(connection) as queries:
        list(threads.in_order("created_at", descending=descending)[:10])

    [_, scan] = plan_of(queries[0]["sql"])
    assert scan["Node Type"] == "Index Scan"
    assert scan["Index Name"] == "threads_status"


@pytest.mark.parametrize(
    "asked", [{}, {"metadata": {"ticket": 3000}}, {"status": "error"}]
)
@pytest.mark.usefixtures("_many_threads")
def test_an_owners_count_reads_an_index(
    alice_client: Client, asked: dict[str, Any]
) -> None:
    kinds = kinds_of_request(alice_client, "/threads/count", asked)

    assert "Seq Scan" not in kinds


def kinds_of_admin(client: AdminClient, **asked: str) -> set[str]:
    """The kinds of nodes in the plan of the admin's query."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/admin/threads/thread/", asked).status_code == 200
    [sql] = [q["sql"] for q in queries if 'FROM "threads"' in q["sql"]]
    return kinds_in(plan_of(sql))


@pytest.mark.usefixtures("_many_threads")
def test_the_admins_search_reads_an_index(admin_client: AdminClient) -> None:
    terms = ["alice", "ticket=3000", "00000000-0000-4000-8000-000000000000"]
    plans = [
        kinds_of_admin(admin_client, status__exact="error"),
        kinds_of_admin(admin_client, q="alice", status__exact="error"),
        *(kinds_of_admin(admin_client, q=term) for term in terms),
    ]

    assert not any("Seq Scan" in kinds for kinds in plans)


@pytest.mark.usefixtures("_many_threads")
def test_the_admins_list_is_read_without_sorting(admin_client: AdminClient) -> None:
    columns = ["", "5", "-5", "6", "-6"]

    plans = [kinds_of_admin(admin_client, o=column) for column in columns]

    assert not any({"Seq Scan", "Sort"} & kinds for kinds in plans)


@pytest.mark.usefixtures("_many_threads")
def test_an_owners_page_counts_threads_by_an_index(admin_client: AdminClient) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get("/admin/owners/alice/").status_code == 200

    [sql] = [q["sql"] for q in queries if 'FROM "threads"' in q["sql"]]
    assert "Seq Scan" not in kinds_in(plan_of(sql))


@pytest.mark.parametrize("index", ["threads_expiring", "threads_discarded"])
@pytest.mark.usefixtures("_many_threads")
def test_the_sweep_reads_an_index(index: str) -> None:
    column = {"threads_expiring": "expires_at"}.get(index, "discarded_at")

    plan = plan_of(
        f"SELECT id FROM threads WHERE {column} <= now() ORDER BY {column} LIMIT 100"  # noqa: S608
    )

    assert index in indexes_in(plan)
