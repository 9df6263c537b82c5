from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from spool.console import lists, paging, runs
from spool.crons.models import Cron
from spool.runs.models import Run, Worker
from spool.store.models import StoreItem
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RUNS, STORE = "/admin/runs/run/", "/admin/store/storeitem/"
THREADS, CRONS = "/admin/threads/thread/", "/admin/crons/cron/"


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for admin in (lists.BigTableAdmin, *lists.BigTableAdmin.__subclasses__()):
        monkeypatch.setattr(admin, "list_per_page", 3)


def make_runs(thread: Thread, count: int, **fields: Any) -> list[Run]:
    """Create runs, the newest first. Three at a time share a time, as in a batch."""
    made = [
        Run.objects.create(
            thread=thread,
            assistant_id=uuid4(),
            created_at=BEGIN + timedelta(seconds=number // 3),
            **{"graph_id": "echo", "status": "success", "owner": "alice", **fields},
        )
        for number in range(count)
    ]
    return sorted(made, key=lambda run: (run.created_at, run.pk), reverse=True)


def pages(client: Client, path: str, link: str = "next") -> Iterator[list[Any]]:
    """The rows of each page, following the links from one page to the next."""
    base, _, query = path.partition("?")
    link_of_page: str = f"?{query}"
    while link_of_page:
        response = client.get(base + link_of_page)
        assert response.status_code == 200
        changelist = response.context["cl"]
        yield list(changelist.result_list)
        link_of_page = getattr(changelist.paginator, link)


def follow(client: Client, path: str) -> tuple[list[list[Any]], list[list[Any]]]:
    """Follow the links to the last page, and back to the first one."""
    onward, last = [], ""
    base, _, query = path.partition("?")
    link = f"?{query}"
    while link:
        last, changelist = link, client.get(base + link).context["cl"]
        onward.append(list(changelist.result_list))
        link = changelist.paginator.next
    return onward, list(pages(client, base + last, "previous"))


def every(rows_of_pages: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(rows_of_pages))


def test_pages_show_each_row_once_and_lead_back(
    admin_client: Client, thread: Thread
) -> None:
    made = make_runs(thread, 8)

    onward, back = follow(admin_client, RUNS)

    assert every(onward) == made
    assert [len(page) for page in onward] == [3, 3, 2]
    assert back == [made[6:], made[3:6], made[:3]]


@pytest.mark.parametrize("column", ["5", "-6"])
def test_sorted_pages_show_each_row_once(admin_client: Client, column: str) -> None:
    for number in range(7):
        at = BEGIN + timedelta(seconds=number // 3)
        Thread.objects.create(created_at=at, updated_at=at)

    onward, back = follow(admin_client, f"{THREADS}?o={column}")

    assert len(every(onward)) == len(set(every(onward))) == 7
    assert back == onward[::-1]


@pytest.mark.parametrize("column", ["7", "-7"])
def test_rows_without_a_value_are_on_a_page(admin_client: Client, column: str) -> None:
    for number in range(7):
        fires = BEGIN + timedelta(seconds=number // 2) if number > 3 else None
        Cron.objects.create(
            assistant_id=uuid4(),
            schedule="* * * * *",
            enabled=False,
            next_run_date=fires,
        )

    onward, back = follow(admin_client, f"{CRONS}?o={column}")

    assert len(set(every(onward))) == 7
    assert back == onward[::-1]


def test_pages_of_items_are_in_order_of_their_place(admin_client: Client) -> None:
    places = [(o, p, k) for o in "ab" for p in ("x", "x.y") for k in ("1", "é'")]
    for owner, path, key in reversed(places):
        StoreItem.objects.create(owner=owner, path=path, key=key, value=1)

    onward, back = follow(admin_client, STORE)

    assert [(i.owner, i.path, i.key) for i in every(onward)] == places
    assert back == onward[::-1]


def test_pages_of_a_search_show_each_row_once(
    admin_client: Client, thread: Thread
) -> None:
    """A row may match several parts of the search."""
    made = make_runs(thread, 4)
    made += make_runs(thread, 1, status="pending")
    made += make_runs(thread, 4, owner="bob", error={"message": "lost alice's data"})
    make_runs(thread, 3, owner="carol")

    onward, back = follow(admin_client, f"{RUNS}?q=alice")

    assert len(every(onward)) == 9
    assert set(every(onward)) == set(made)
    assert back == onward[::-1]


def test_new_rows_move_no_page(admin_client: Client, thread: Thread) -> None:
    made = make_runs(thread, 6)
    reading = pages(admin_client, RUNS)

    first = next(reading)
    Run.objects.create(
        thread=thread, assistant_id=uuid4(), graph_id="echo", status="success"
    )

    assert first + next(reading) == made


@pytest.mark.parametrize("path", [RUNS, STORE])
def test_another_cursor_shows_the_first_page(admin_client: Client, path: str) -> None:
    StoreItem.objects.create(owner="a", path="x", key="1", value=1)
    cursors = [
        *("2", "x", "[]", "{}", '{"before": 1}', '{"beside": ["2026-01-01"]}'),
        *('{"after": []}', '{"after": ["a", "b", "c", "d"]}', '{"after": [{}]}'),
        *(
            '{"after": [1]}',
            '{"after": ["a\\u0000b"]}',
            '{"after": ["2026-14-01", {}]}',
        ),
    ]

    for cursor in cursors:
        response = admin_client.get(path, {"p": cursor})

        assert response.status_code == 200
        assert not response.context["cl"].paginator.first, cursor


def test_a_filter_without_an_index_searches_further_on_each_page(
    admin_client: Client, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_READ", 6)
    rare = make_runs(thread, 2, run_class="cron")
    Run.objects.update(created_at=BEGIN - timedelta(days=1))
    make_runs(thread, 14, run_class="background")
    path = f"{RUNS}?run_class__exact=cron"

    found = list(pages(admin_client, path))
    shown = admin_client.get(path).content.decode()

    assert every(found) == sorted(rare, key=lambda run: run.pk, reverse=True)
    assert not found[0]
    assert "Search further" in shown
    assert "0 runs among 6 that were searched" in " ".join(shown.split())


def test_a_filter_of_rows_that_are_sorted_otherwise_reads_them_all(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_READ", 1)
    for missed in (1, 0, 0, 1):
        Cron.objects.create(
            assistant_id=uuid4(), schedule="@daily", enabled=False, missed=missed
        )

    by_date = list(pages(admin_client, f"{CRONS}?trouble=missed&o=7"))
    by_schedule = list(pages(admin_client, f"{CRONS}?trouble=missed&o=1"))

    assert [len(every(found)) for found in (by_date, by_schedule)] == [2, 2]


def test_frequent_words_are_searched_among_the_newest_errors(
    admin_client: Client, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_FOUND", 2)
    monkeypatch.setattr(runs, "MAX_ERRORS_READ", 4)
    made = make_runs(thread, 9, status="error", error={"error": "E", "message": "a b"})
    make_runs(thread, 3, status="error", error={"error": "F", "message": "b"})

    found = list(pages(admin_client, f"{RUNS}?q=a b"))

    assert every(found) == made
    assert len(found) > 3


def test_the_runs_of_a_worker_are_searched_from_its_end_on(
    admin_client: Client, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_READ", 3)
    gone = Worker.objects.create(
        hostname="here", pid=1, capacity=1, heartbeat_at=BEGIN + timedelta(seconds=1)
    )
    Worker.objects.create(hostname="here", pid=2, capacity=1)
    made = make_runs(thread, 3, worker=gone)
    later = make_runs(thread, 9)
    Run.objects.filter(pk__in=[run.pk for run in later]).update(
        created_at=BEGIN + timedelta(days=1)
    )

    [first, *_] = pages(admin_client, f"{RUNS}?worker={gone.pk}")

    assert first == made


def test_a_search_can_be_acted_on_from_a_later_page(
    admin_client: Client, thread: Thread
) -> None:
    make_runs(thread, 6, status="pending")
    [_, second] = pages(admin_client, f"{RUNS}?q=alice")
    first = admin_client.get(f"{RUNS}?q=alice").context["cl"].paginator.next
    chosen = {"_selected_action": [str(run.pk) for run in second], "confirmed": "1"}

    admin_client.post(f"{RUNS}{first}", {**chosen, "action": "cancel"})

    stopped = Run.objects.exclude(status="pending")
    assert set(stopped.values_list("pk", flat=True)) == {run.pk for run in second}


def test_a_list_never_counts_its_rows(admin_client: Client, thread: Thread) -> None:
    make_runs(thread, 4)

    with CaptureQueriesContext(connection) as queries:
        for path in ("", "?q=alice", "?graph=echo", "?status__exact=success"):
            admin_client.get(RUNS + path)

    of_runs = [query["sql"] for query in queries if 'FROM "runs"' in query["sql"]]
    assert not any("COUNT" in sql for sql in of_runs)
