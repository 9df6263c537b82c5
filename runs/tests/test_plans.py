"""The admin's lists use indexes: the query plans of its real queries."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from spool.console import paging
from spool.database.tests.plans import indexes_in, plan_of
from spool.threads.models import Thread

ASSISTANT = "00000000-0000-4000-8000-000000000001"
# One row in a thousand of each kind matches an operator's filter.
RUNS = """
INSERT INTO runs (id, thread_id, assistant_id, graph_id, status, metadata, kwargs,
    multitask_strategy, is_temporary, owner, attempt, losses, created_at, updated_at)
SELECT gen_random_uuid(), %(thread)s,
    CASE n %% 100 WHEN 1 THEN %(assistant)s ELSE gen_random_uuid() END, 'echo',
    CASE n %% 1000 WHEN 0 THEN 'error' ELSE 'success' END,
    '{}', '{}', 'enqueue', false, 'owner' || n %% 50, 1, 0, now() - n * interval '1 minute', now()
FROM generate_series(1, 5000) n
"""
DELIVERIES = """
INSERT INTO webhook_deliveries (id, run_id, thread_id, url, payload, created_at,
    next_attempt_at, attempts, delivered_at, last_error)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'https://a.b', '{}',
    now() - n * interval '1 minute', NULL, 1,
    CASE n % 1000 WHEN 0 THEN NULL ELSE now() END, ''
FROM generate_series(1, 5000) n
"""

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_many_rows")]


@pytest.fixture
def _many_rows(db: None) -> None:
    thread = Thread.objects.create(id=uuid4())
    with connection.cursor() as cursor:
        cursor.execute(RUNS, {"thread": thread.id, "assistant": UUID(ASSISTANT)})
        cursor.execute(DELIVERIES)
        cursor.execute("ANALYZE runs, webhook_deliveries")


@pytest.mark.parametrize(
    ("path", "indexes"),
    [
        ("runs/run/?status__exact=error", {"runs_not_successful"}),
        ("runs/run/?status__in=error,timeout", {"runs_not_successful"}),
        ("runs/run/?q=owner1", {"runs_ended_of_owner", "runs_pkey"}),
        (f"runs/run/?q={ASSISTANT}", {"runs_ended_of_assistant", "runs_by_thread"}),
        ("webhooks/webhookdelivery/?state=given+up", {"webhook_deliveries_given_up"}),
        ("runs/run/", {"runs_by_created"}),
        ("webhooks/webhookdelivery/", {"webhook_deliveries_newest"}),
    ],
)
def test_a_page_of_a_list_reads_indexes(
    admin_client: Client, path: str, indexes: set[str]
) -> None:
    with connection.cursor() as cursor:
        # Postgres may read all of a small table to join it to a page.
        for plan_type in ("seqscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET LOCAL enable_{plan_type} = off")

    plan = plan_of(statements(admin_client, path)[-1])

    assert indexes <= indexes_in(plan)


def test_a_filter_without_an_index_reads_a_part_of_the_rows(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_READ", 100)

    [of_edge, of_rows] = statements(admin_client, "runs/run/?graph=none")[-2:]

    assert "OFFSET 100" in of_edge
    assert indexes_in(plan_of(of_edge)) == {"runs_by_created"}
    by_index = {one.get("Index Name"): one for one in plan_of(of_rows)}
    assert "created_at >= " in by_index["runs_by_created"]["Index Cond"]


def statements(client: Client, path: str) -> list[str]:
    table = "runs" if path.startswith("runs/") else "webhook_deliveries"
    with CaptureQueriesContext(connection) as queries:
        assert client.get(f"/admin/{path}").status_code == 200
    return [query["sql"] for query in queries if f'FROM "{table}"' in query["sql"]]
