"""The admin's first page: the sentences at the top, the figures, and their links."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from spool.crons.models import Cron
from spool.runs import counting, lifecycle, queue
from spool.runs.lifecycle import Outcome
from spool.runs.models import Run, Worker
from spool.runs.periods import Counting
from spool.runs.tests.attempts import MINUTE, ago, count_now, ended
from spool.threads.models import Thread
from spool.usage.models import Budget, UsageTotal
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


@pytest.fixture
def worker() -> Worker:
    return Worker.objects.create(hostname="here", pid=7, capacity=2)


@pytest.fixture
def counted() -> Callable[..., None]:
    """A function that counts attempts as if they had just ended."""

    def count(*attempts: tuple[str, dict[str, Any]]) -> None:
        counting.count()  # The first pass ever only writes its row.
        for outcome, given in attempts:
            ended(ago(timedelta(seconds=1)), outcome, **given)
        count_now()

    return count


def problems(client: Client) -> list[str]:
    return [one.text for one in client.get(reverse("admin:index")).context["problems"]]


def leads_to(client: Client, text: str) -> set[Any]:
    """The rows of the list that a problem links to."""
    shown = client.get(reverse("admin:index")).context["problems"]
    [problem] = [one for one in shown if text in one.text]
    return {row.pk for row in client.get(problem.href).context["cl"].result_list}


def test_all_is_well(admin_client: Client, worker: Worker) -> None:
    page = admin_client.get(reverse("admin:index"))

    assert "All is well." in page.content.decode()
    assert "of 2 slots on 1 worker" in page.content.decode()


def test_runs_wait_because_no_worker_is_alive(
    admin_client: Client, make_run: MakeRun
) -> None:
    run = make_run()
    Run.objects.filter(pk=run.pk).update(created_at=Now() - MINUTE / 2)

    [text] = problems(admin_client)
    assert text.startswith("1 run waits, the oldest for ")
    assert text.endswith("no worker is alive.")
    assert leads_to(admin_client, "no worker") == {run.pk}


def test_runs_wait_because_one_owner_has_all_slots(
    admin_client: Client, make_run: MakeRun, worker: Worker
) -> None:
    running = [make_run(thread_id=None) for _ in range(2)]
    waiting = [make_run(thread_id=None) for _ in range(3)]
    Run.objects.filter(pk__in=[run.pk for run in running]).update(
        status="running", owner="acme", worker=worker
    )
    old = Now() - timedelta(minutes=7)
    Run.objects.filter(pk__in=[run.pk for run in waiting]).update(created_at=old)

    assert problems(admin_client) == [
        "3 runs wait, the oldest for 7 min: all 2 slots are taken, "
        "2 of 2 by owner acme."
    ]
    page = admin_client.get(reverse("admin:index")).content.decode()
    assert f'href="{reverse("console-owner", args=["acme"])}"' in page


@pytest.mark.parametrize("kind", ["graph", "owner", "assistant"])
def test_runs_wait_because_of_a_pause(
    admin_client: Client, make_run: MakeRun, worker: Worker, kind: str
) -> None:
    held = make_run(thread_id=None)
    free = make_run(thread_id=None)
    name = {"graph": "echo", "owner": "acme", "assistant": str(held.assistant_id)}[kind]
    old = {"created_at": Now() - timedelta(minutes=7)}
    Run.objects.filter(pk=held.pk).update(**old, owner="acme", fairness_group="acme")
    Run.objects.filter(pk=free.pk).update(graph_id="other", assistant_id=uuid4())
    queue.pause(kind, name)

    shown = name if kind != "assistant" else "echo"
    assert problems(admin_client) == [
        f"1 run waits, the oldest for 7 min: {kind} {shown} is paused."
    ]
    assert leads_to(admin_client, "paused") == {held.pk}
    [problem] = admin_client.get(reverse("admin:index")).context["problems"]
    assert admin_client.get(problem.see.href).status_code == 200

    Run.objects.filter(pk=free.pk).update(**old)
    assert len(problems(admin_client)) == 2


def test_a_pause_without_runs_is_no_trouble(
    admin_client: Client, worker: Worker
) -> None:
    queue.pause("owner", "acme")

    page = admin_client.get(reverse("admin:index")).content.decode()
    assert "All is well." in page
    assert "Paused: <a" in page


def test_runs_wait_because_all_workers_drain(
    admin_client: Client, make_run: MakeRun, worker: Worker
) -> None:
    run = make_run()
    Run.objects.filter(pk=run.pk).update(created_at=Now() - timedelta(minutes=7))
    queue.pause("worker", str(worker.pk))

    [text] = problems(admin_client)
    assert text.endswith(": the only worker drains.")


def test_runs_wait_because_of_a_limit(
    admin_client: Client, make_run: MakeRun, worker: Worker
) -> None:
    running, run = make_run(thread_id=None), make_run(thread_id=None)
    Run.objects.update(owner="acme", fairness_group="acme")
    Run.objects.filter(pk=running.pk).update(status="running", worker=worker)
    Run.objects.filter(pk=run.pk).update(created_at=Now() - timedelta(minutes=7))
    queue.limit_owner("acme", 1)

    [text] = problems(admin_client)
    assert text.endswith(": the limit of owner acme, 1 running, is reached.")


def test_failures_are_grouped(
    admin_client: Client, worker: Worker, counted: Callable[..., None]
) -> None:
    error = {"error": "RateLimitError", "message": "429"}
    counted(
        *[("error", {"error": error, "node": "search"})] * 3,
        ("error", {"error": {"error": "KeyError", "message": "x"}}),
        *[("success", {})] * 4,
    )

    page = admin_client.get(reverse("admin:index"))

    assert problems(admin_client) == [
        "In the last hour, 4 of 8 runs failed, 3 of them of graph echo with "
        "RateLimitError in its node search."
    ]
    first = page.context["failures"][0]
    assert first["group"].count == 3
    assert "error=RateLimitError" in first["href"]
    assert admin_client.get(first["href"]).status_code == 200
    assert 'aria-label="succeeded 4, interrupted 0' in page.content.decode()
    assert page.context["graphs"][0].outcomes.ended == 8


def test_lost_workers_lead_to_their_runs(
    admin_client: Client,
    worker: Worker,
    make_run: MakeRun,
    counted: Callable[..., None],
) -> None:
    resumed, given_up = make_run(thread_id=None), make_run(thread_id=None)
    error = {"error": "WorkerLost", "message": "lost 3 times"}
    assert lifecycle.end_here(given_up, Outcome("error", error))
    counted(("lost", {"run_id": resumed.pk}))

    assert problems(admin_client) == [
        "In the last hour, 1 run was given up after each attempt lost its worker: echo.",
        "In the last hour, 1 attempt was lost with its worker.",
    ]
    assert leads_to(admin_client, "given up") == {given_up.pk}
    assert leads_to(admin_client, "lost with") == {resumed.pk}


def test_webhooks_crons_and_forgotten_interrupts(
    admin_client: Client, worker: Worker, thread: Thread
) -> None:
    given_up = WebhookDelivery.objects.create(
        run_id=uuid4(),
        thread_id=uuid4(),
        url="https://example.com/",
        payload={},
        next_attempt_at=None,
    )
    late = Cron.objects.create(
        assistant_id=uuid4(), schedule="* * * * *", next_run_date=ago(2 * MINUTE)
    )
    old = Now() - timedelta(days=2)
    Thread.objects.filter(pk=thread.pk).update(
        status="interrupted", created_at=old, state_updated_at=old
    )
    Thread.objects.create(status="interrupted")

    assert problems(admin_client) == [
        "In the last 24 hours, 1 webhook was given up.",
        "1 cron is late.",
        "1 thread has waited for an answer for more than a day.",
    ]
    assert leads_to(admin_client, "webhook") == {given_up.pk}
    assert leads_to(admin_client, "cron") == {late.pk}
    assert leads_to(admin_client, "thread") == {thread.pk}


def test_a_silent_tick_is_told(admin_client: Client, worker: Worker) -> None:
    counting.count()
    Counting.objects.update(counted_at=ago(5 * MINUTE))

    [text] = problems(admin_client)
    assert text == "The tick has not run for 5 min."


def test_tokens_and_budgets(admin_client: Client, worker: Worker) -> None:
    today = timezone.now().date()
    common = {"assistant_id": uuid4(), "graph_id": "echo", "day": today, "calls": 1}
    UsageTotal.objects.create(owner="acme", input=70, output=20, **common)
    UsageTotal.objects.create(owner="other", input=1, **common)
    for owner in ("other", "acme"):
        Budget.objects.create(owner=owner, period="day", unit="tokens", limit=100)

    page = admin_client.get(reverse("admin:index"))

    assert page.context["today"]["total"]["total_tokens"] == 91
    payers = [one["payer"].text for one in page.context["budgets"]]
    assert payers == ["owner acme", "owner other"]
    assert "90 of 100 tokens used" in page.content.decode()
    UsageTotal.objects.filter(owner="acme").update(input=80)
    assert problems(admin_client) == [
        "The budget of owner acme is used up: its new runs are refused."
    ]


@pytest.mark.parametrize("shown", ["15m", "1h", "24h", "7d", "no range"])
def test_every_range_has_few_queries(
    admin_client: Client,
    make_run: MakeRun,
    worker: Worker,
    counted: Callable[..., None],
    shown: str,
    django_assert_max_num_queries: Any,
) -> None:
    counted(("success", {}), ("error", {}))
    Budget.objects.create(owner="acme", period="day", unit="tokens", limit=100)
    # Most queries are needed while runs wait for several reasons.
    held = make_run(thread_id=None)
    queue.pause("assistant", str(held.assistant_id))
    Run.objects.filter(pk=make_run(thread_id=None).pk).update(assistant_id=uuid4())
    Run.objects.update(created_at=Now() - timedelta(minutes=7))
    Run.objects.update(dispatched_at=Now())
    Run.objects.filter(pk=make_run(thread_id=None).pk).update(
        status="running", worker=worker
    )
    Worker.objects.update(capacity=1)

    with django_assert_max_num_queries(20):
        page = admin_client.get(reverse("console-overview"), {"range": shown})

    assert page.context["outcomes"].ended == 2
    assert len(page.context["problems"]) == 2


def test_what_a_graph_raised_is_shown_as_text(
    admin_client: Client, worker: Worker, counted: Callable[..., None]
) -> None:
    counted(("error", {"error": {"error": "<script>alert(1)</script>"}}))

    page = admin_client.get(reverse("admin:index")).content.decode()

    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_only_users_who_may_see_runs_see_the_figures(
    client_of: Callable[..., Client],
) -> None:
    client = client_of("view_cron")

    assert "problems" not in client.get(reverse("admin:index")).context
    assert client.get(reverse("console-overview")).status_code == 403
