"""Searches use indexes: the plans of the API's own queries."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from spool.access.policy import EVERYTHING
from spool.access.tests.people import Client
from spool.assistants.models import Assistant
from spool.database.tests.plans import kinds_in, plan_of

SEED = """
INSERT INTO assistants (id, graph_id, version, name, config, context, metadata,
    created_at, updated_at, is_system)
SELECT gen_random_uuid(), 'echo', 1, 'Untitled', '{}', '{}',
    jsonb_build_object('owner', CASE WHEN n % 100 = 0 THEN 'alice'
        ELSE 'owner' || n % 100 END, 'ticket', n),
    now() - n * interval '1 minute', now(), false
FROM generate_series(1, 5000) n
"""

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_many_assistants")]


@pytest.fixture
def _many_assistants(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SEED)
        cursor.execute("ANALYZE assistants")


def kinds_of(queries: CaptureQueriesContext) -> set[str]:
    """The node types in the plan of the only query on assistants."""
    [sql] = [query["sql"] for query in queries if 'FROM "assistants"' in query["sql"]]
    return kinds_in(plan_of(sql))


@pytest.mark.parametrize("path", ["search", "count"])
@pytest.mark.parametrize("asked", [{}, {"metadata": {"ticket": 300}}, {"name": "u"}])
def test_an_owners_search_reads_an_index(
    alice_client: Client, path: str, asked: dict[str, Any]
) -> None:
    with CaptureQueriesContext(connection) as queries:
        alice_client.call("post", f"/assistants/{path}", asked)

    assert "Seq Scan" not in kinds_of(queries)


@pytest.mark.parametrize("descending", [True, False])
def test_the_newest_are_read_without_sorting(descending: bool) -> None:
    everything = Assistant.objects.visible_to(EVERYTHING)

    with CaptureQueriesContext(connection) as queries:
        list(everything.in_order("created_at", descending=descending)[:10])

    assert kinds_of(queries) == {"Limit", "Index Scan"}
