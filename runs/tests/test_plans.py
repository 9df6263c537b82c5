"""The admin's lists use indexes: the query plans of its real queries."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from spool.database.tests.plans import indexes_in, plan_of
from spool.threads.models import Thread

# One row in a thousand of each kind matches an operator's filter.
RUNS = """
INSERT INTO runs (id, thread_id, assistant_id, graph_id, status, metadata, kwargs,
    multitask_strategy, is_temporary, owner, attempt, losses, created_at, updated_at)
SELECT gen_random_uuid(), %s, gen_random_uuid(), 'echo',
    CASE n %% 1000 WHEN 0 THEN 'error' ELSE 'success' END,
    '{}', '{}', 'enqueue', false, '', 1, 0, now() - n * interval '1 minute', now()
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
        cursor.execute(RUNS, [thread.id])
        cursor.execute(DELIVERIES)
        cursor.execute("ANALYZE runs, webhook_deliveries")


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("runs/run/?status__exact=error", "runs_not_successful"),
        ("webhooks/webhookdelivery/?state=given+up", "webhook_deliveries_given_up"),
        ("runs/run/", "runs_by_created"),
        ("webhooks/webhookdelivery/", "webhook_deliveries_newest"),
    ],
)
def test_a_page_of_a_list_reads_an_index(
    admin_client: Client, path: str, index: str
) -> None:
    table = "runs" if path.startswith("runs/") else "webhook_deliveries"

    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get(f"/admin/{path}").status_code == 200

    # The last query gets the rows; the one before counts them, up to a limit.
    asked = [query["sql"] for query in queries if f'FROM "{table}"' in query["sql"]]
    assert index in indexes_in(plan_of(asked[-1]))


def test_failed_runs_are_listed_by_their_index(admin_client: Client) -> None:
    path = "/admin/runs/run/?status__in=error,timeout"
    with CaptureQueriesContext(connection) as queries:
        assert admin_client.get(path).status_code == 200

    failed = [q["sql"] for q in queries if "IN ('error', 'timeout')" in q["sql"]]
    assert len(failed) == 2
    for sql in failed:
        assert "runs_not_successful" in indexes_in(plan_of(sql))
