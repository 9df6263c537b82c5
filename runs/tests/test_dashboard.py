"""The admin's first page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from spool.runs.models import Run, Worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("operator"))
    return client


def test_it_counts_what_runs_waits_and_failed(
    operator: Client, make_run: Callable[..., Run]
) -> None:
    Worker.objects.create(hostname="here", pid=1, capacity=10)
    failed, _ = make_run(), make_run()
    Run.objects.filter(pk=failed.pk).update(
        status="error", error={"error": "ValueError", "message": "no luck"}
    )

    page = operator.get(reverse("admin:index"))

    figures = {one["title"]: one["value"] for one in page.context["figures"]}
    assert figures == {
        "Running": "0",
        "Waiting": "1",
        "Failed within a day": "1",
        "Webhooks on their way": "0",
    }
    assert "of 10 at once, on 1 worker" in page.content.decode()
    assert "ValueError: no luck" in page.content.decode()


def test_it_costs_a_few_statements(
    operator: Client,
    make_run: Callable[..., Run],
    django_assert_max_num_queries: object,
) -> None:
    for _ in range(5):
        make_run()
    Run.objects.update(status="error", error={"error": "ValueError", "message": "x"})

    with django_assert_max_num_queries(14):  # type: ignore[operator]
        operator.get(reverse("admin:index"))


def test_what_a_graph_raised_is_shown_as_text(
    operator: Client, make_run: Callable[..., Run]
) -> None:
    make_run()
    error = {"error": "ValueError", "message": "<script>alert(1)</script>"}
    Run.objects.update(status="error", error=error)

    page = operator.get(reverse("admin:index")).content.decode()

    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
