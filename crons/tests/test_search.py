from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from spool.crons.tests.conftest import MakeCron
from spool.database.tests.plans import indexes_in, kinds_in, plan_of
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


def test_search_filters_sorts_and_pages(
    alice_client: Any, make_cron: MakeCron, thread: Thread
) -> None:
    first = make_cron(schedule="0 0 1 1 *", metadata={"kind": "a"})
    second = make_cron(thread, schedule="* * * * *", metadata={"kind": "b"})
    third = make_cron(enabled=False, metadata={"kind": "a", "n": 1})

    def found(**body: Any) -> list[str]:
        response = alice_client.call("post", "/runs/crons/search", body)
        assert response.status_code == 200, response.content
        return [row["cron_id"] for row in response.json()]

    ids = [str(cron.id) for cron in (first, second, third)]
    assert found() == ids[::-1]
    assert found(sort_by="created_at", sort_order="asc") == ids
    assert found(metadata={"kind": "a"}, sort_order="asc") == [ids[0], ids[2]]
    assert found(thread_id=str(thread.id)) == [ids[1]]
    assert found(enabled=False) == [ids[2]]
    assert found(assistant_id=str(first.assistant_id), limit=1) == [ids[2]]
    assert found(sort_by="next_run_date", sort_order="asc") == [ids[1], ids[0], ids[2]]
    assert found(offset=1, limit=1) == [ids[1]]
    assert found(metadata={"kind": "%"}) == []


def test_search_tells_of_more(alice_client: Any, make_cron: MakeCron) -> None:
    for _ in range(3):
        make_cron()

    first = alice_client.call("post", "/runs/crons/search", {"limit": 2})
    last = alice_client.call("post", "/runs/crons/search", {"limit": 2, "offset": 2})

    assert first.headers["X-Pagination-Total"] == "3"
    assert first.headers["X-Pagination-Next"] == "2"
    assert last.headers["X-Pagination-Total"] == "3"
    assert "X-Pagination-Next" not in last.headers


def test_search_selects(alice_client: Any, make_cron: MakeCron) -> None:
    cron = make_cron()

    response = alice_client.call(
        "post", "/runs/crons/search", {"select": ["cron_id", "enabled"]}
    )

    assert response.json() == [{"cron_id": str(cron.id), "enabled": True}]


# Copies of the existing cron for fifty owners, created one after another.
MANY = """
INSERT INTO crons (
    id, assistant_id, schedule, payload, metadata, on_run_completed, enabled,
    disabled_reason, next_run_date, missed, creator, created_at
)
SELECT gen_random_uuid(), assistant_id, schedule, payload,
    jsonb_build_object('owner', CASE WHEN n % 50 = 0 THEN 'alice'
        ELSE 'owner' || n % 50 END),
    on_run_completed, enabled, '', next_run_date, 0, creator,
    now() - n * interval '1 minute'
FROM crons, generate_series(1, 5000) AS n
"""


@pytest.mark.parametrize("sort_order", ["asc", "desc"])
def test_search_reads_the_newest_by_their_index(
    alice_client: Any, make_cron: MakeCron, sort_order: str
) -> None:
    make_cron()
    with connection.cursor() as cursor:
        cursor.execute(MANY)
        cursor.execute("ANALYZE crons")

    with CaptureQueriesContext(connection) as queries:
        alice_client.call("post", "/runs/crons/search", {"sort_order": sort_order})

    plan = plan_of(queries[-1]["sql"])
    assert "crons_by_owner" in indexes_in(plan)
    # Only ties are sorted (`Incremental Sort`).
    assert "Sort" not in kinds_in(plan)


@pytest.mark.parametrize(
    "wrong",
    [
        {"assistant_id": "echo"},
        {"thread_id": "nonsense"},
        {"thread_id": 5},
        {"limit": 0},
        {"limit": 1001},
        {"offset": -1},
        {"sort_by": "payload"},
        {"sort_order": "up"},
        {"select": ["now"]},
        {"metadata": []},
        {"enabled": "perhaps"},
    ],
)
def test_search_refuses(alice_client: Any, wrong: dict[str, Any]) -> None:
    assert alice_client.call("post", "/runs/crons/search", wrong).status_code == 422


def test_search_and_count_hide_other_owners_crons(
    alice_client: Any, bob_client: Any, make_cron: MakeCron
) -> None:
    make_cron()

    assert bob_client.call("post", "/runs/crons/search", {}).json() == []
    assert bob_client.call("post", "/runs/crons/count", {}).json() == 0
    assert alice_client.call("post", "/runs/crons/count", {}).json() == 1


def test_count_filters(alice_client: Any, make_cron: MakeCron, thread: Thread) -> None:
    make_cron(metadata={"kind": "a"})
    make_cron(thread)

    def count(**body: Any) -> Any:
        return alice_client.call("post", "/runs/crons/count", body).json()

    assert count() == 2
    assert count(metadata={"kind": "a"}) == 1
    assert count(thread_id=str(thread.id)) == 1
    assert count(enabled=False) == 0
    assert count(assistant_id=str(uuid4())) == 0
    assert (
        alice_client.call("post", "/runs/crons/count", {"thread_id": "x"}).status_code
        == 422
    )
