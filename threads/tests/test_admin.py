from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from spool.console import markup
from spool.threads.models import Thread
from spool.threads.tests.running import checkpoint_rows, make_thread

pytestmark = pytest.mark.django_db

LIST = "/admin/threads/thread/"


def page(thread: Thread) -> str:
    return reverse("admin:threads_thread_change", args=[thread.pk])


def listed(client: Client, **query: str) -> set[Any]:
    response = client.get(LIST, query)
    assert response.status_code == 200
    return {thread.pk for thread in response.context["cl"].result_list}


def test_the_list_finds_threads(admin_client: Client) -> None:
    hers = Thread.objects.create(metadata={"owner": "alice", "n": 1, "text": "a b"})
    his = Thread.objects.create(metadata={"owner": "bob", "n": "1"}, status="error")
    by_assistant = Thread.objects.create(metadata={"assistant_id": str(hers.pk)})
    Thread.objects.create(discarded_at="2026-01-01T00:00:00Z")

    assert listed(admin_client) == {hers.pk, his.pk, by_assistant.pk}
    assert listed(admin_client, q="alice") == {hers.pk}
    assert listed(admin_client, q="ali") == set()
    assert listed(admin_client, q="n=1") == {hers.pk}
    assert listed(admin_client, q="text=a b") == {hers.pk}
    assert listed(admin_client, q='{"n": "1"}') == {his.pk}
    assert listed(admin_client, q="{") == set()
    assert listed(admin_client, q=str(hers.pk)) == {hers.pk, by_assistant.pk}
    assert listed(admin_client, status__exact="error") == {his.pk}


def test_the_list_never_counts_everything(admin_client: Client) -> None:
    Thread.objects.bulk_create(Thread(values={"big": "x"}) for _ in range(80))

    with CaptureQueriesContext(
        connection,
    ) as queries:
        response = admin_client.get(LIST)

    assert len(response.context["cl"].result_list) == 50
    of_threads = [q["sql"] for q in queries if 'FROM "threads"' in q["sql"]]
    assert len(of_threads) == 1
    assert "LIMIT 51" in of_threads[0]
    assert '"threads"."values"' not in of_threads[0]


def test_the_list_costs_the_same_for_any_number_of_rows(
    admin_client: Client, django_assert_num_queries: Any
) -> None:
    Thread.objects.create()
    admin_client.get(LIST)
    with CaptureQueriesContext(connection) as one:
        admin_client.get(LIST)
    Thread.objects.bulk_create(Thread() for _ in range(20))

    with django_assert_num_queries(len(one)):
        admin_client.get(LIST)


def test_a_thread_is_shown_with_its_state(admin_client: Client) -> None:
    thread = make_thread("human", {"topic": "<b>bold</b>"})

    response = admin_client.get(page(thread))

    text = response.content.decode()
    assert response.status_code == 200
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "<b>bold" not in text
    assert "approve?" in text
    assert "in 2 checkpoints" in text
    assert 'name="_save"' not in text


def test_what_is_long_is_cut(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markup, "MAX_CHARACTERS", 100)
    thread = Thread.objects.create(metadata={"long": "x" * 1000})

    text = admin_client.get(page(thread)).content.decode()

    assert "x" * 200 not in text
    assert "characters in all" in text


@pytest.mark.django_db(transaction=True)
def test_threads_are_deleted_with_their_state(admin_client: Client) -> None:
    one, two = (
        make_thread("human", {"topic": "a"}),
        make_thread("human", {"topic": "b"}),
    )
    kept = make_thread("human", {"topic": "c"})

    admin_client.post(
        reverse("admin:threads_thread_operation", args=[one.pk, "delete"])
    )
    chosen = {"action": "delete", "_selected_action": [two.pk]}
    asked = admin_client.post(LIST, chosen).content.decode()
    admin_client.post(LIST, {**chosen, "confirmed": "1"})

    assert "Delete: 1 thread" in asked

    assert list(Thread.objects.all()) == [kept]
    assert set(checkpoint_rows(one, two).values()) == {0}


def test_nothing_is_edited(admin_client: Client) -> None:
    thread = Thread.objects.create(metadata={"owner": "alice"})

    response = admin_client.post(page(thread), {"status": "error"})

    assert response.status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert Thread.objects.get().status == "idle"


def test_only_staff_comes_in(client: Client) -> None:
    assert client.get(LIST).status_code == 302
