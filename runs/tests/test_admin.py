from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from spool.console import workers
from spool.runs import lifecycle
from spool.runs.lifecycle import Outcome
from spool.runs.models import Run, Worker
from spool.threads.models import Thread
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]
RUNS = "/admin/runs/run/"
WORKERS = "/admin/runs/worker/"
WEBHOOKS = "/admin/webhooks/webhookdelivery/"


@pytest.fixture
def worker() -> Worker:
    return Worker.objects.create(hostname="machine", pid=17, capacity=10)


@pytest.fixture
def delivery() -> WebhookDelivery:
    return WebhookDelivery.objects.create(
        run_id=uuid4(),
        thread_id=uuid4(),
        url="https://me:s3cret@example.com/hook",
        payload={"status": "success"},
    )


@pytest.fixture
def viewer(client_of: Callable[..., Client]) -> Client:
    """A user with only view permissions."""
    return client_of("view_run", "view_worker", "view_webhookdelivery")


@pytest.fixture
def client_of(db: None) -> Callable[..., Client]:
    def make(*names: str) -> Client:
        user = User.objects.create_user("viewer", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(user)
        return client

    return make


def choose(client: Client, path: str, action: str, *rows: Any) -> str:
    """Run an admin action on rows of a list. Returns the messages that it shows."""
    chosen = [str(row.pk) for row in rows]
    body = {"action": action, "_selected_action": chosen, "confirmed": "1"}
    response = client.post(path, body, follow=True)
    return "; ".join(str(message) for message in response.context["messages"])


def listed(client: Client, path: str) -> set[Any]:
    response = client.get(path)
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


def ended(run: Run, status: str, error: Any = None) -> Run:
    assert lifecycle.end_here(run, Outcome(status, error))
    run.refresh_from_db()
    return run


# --- Runs -----------------------------------------------------------------------------
def test_the_list_of_runs_shows_how_each_does(
    admin_client: Client, make_run: MakeRun, worker: Worker
) -> None:
    run = make_run()
    Run.objects.update(
        worker=worker,
        attempt=2,
        started_at=Now() - timedelta(seconds=90),
        ended_at=Now() - timedelta(seconds=60),
    )
    ended(
        Run.objects.get(), "error", {"error": "ValueError", "message": "no such thing"}
    )

    text = admin_client.get(RUNS).content.decode()

    assert str(run.id) in text
    assert "machine:17" in text
    assert "ValueError: no such thing" in text


def test_the_list_asks_no_more_for_more_runs(
    admin_client: Client,
    make_run: MakeRun,
    worker: Worker,
    django_assert_num_queries: Any,
) -> None:
    for _ in range(5):
        make_run(thread_id=None)
    Run.objects.update(worker=worker)
    admin_client.get(RUNS)

    # The session, its user, the filters (errors by two queries, workers), the runs.
    with django_assert_num_queries(6):
        admin_client.get(RUNS)


def test_runs_are_searched_and_filtered(
    admin_client: Client, make_run: MakeRun, worker: Worker, thread: Thread
) -> None:
    mine, other = make_run(), make_run(thread_id=None)
    Run.objects.filter(pk=mine.pk).update(owner="alice", worker=worker)
    Run.objects.filter(pk=other.pk).update(graph_id="gone", status="timeout")

    assert listed(admin_client, RUNS) == {mine.pk, other.pk}
    assert listed(admin_client, f"{RUNS}?q={mine.id}") == {mine.pk}
    assert listed(admin_client, f"{RUNS}?q={thread.id}") == {mine.pk}
    assert listed(admin_client, f"{RUNS}?q={mine.assistant_id}") == {mine.pk, other.pk}
    assert listed(admin_client, f"{RUNS}?q=alice") == {mine.pk}
    assert listed(admin_client, f"{RUNS}?q=ali") == set()
    assert listed(admin_client, f"{RUNS}?owner=alice") == {mine.pk}
    assert listed(admin_client, f"{RUNS}?owner=") == {mine.pk, other.pk}
    assert listed(admin_client, f"{RUNS}?status__exact=timeout") == {other.pk}
    assert listed(admin_client, f"{RUNS}?graph=echo") == {mine.pk}
    Run.objects.filter(pk=other.pk).update(error={"error": "Late", "message": "1"})
    assert listed(admin_client, f"{RUNS}?error=Late") == {other.pk}
    assert listed(admin_client, f"{RUNS}?error=Lat") == set()
    assert listed(admin_client, f"{RUNS}?worker={worker.id}") == {mine.pk}
    assert listed(admin_client, f"{RUNS}?worker=junk") == set()


def test_the_page_of_a_run_shows_what_was_asked(
    admin_client: Client, make_run: MakeRun
) -> None:
    run = make_run(input={"topic": "weather"}, metadata={"kind": "daily"})

    response = admin_client.get(reverse("admin:runs_run_change", args=[run.pk]))

    assert response.status_code == 200
    assert "weather" in response.content.decode()
    assert "daily" in response.content.decode()


def test_runs_are_cancelled(admin_client: Client, make_run: MakeRun) -> None:
    waiting, running, over = make_run(), make_run(), make_run()
    Run.objects.filter(pk=running.pk).update(status="running")
    ended(over, "success")

    told = choose(admin_client, RUNS, "cancel", waiting, running, over)

    waiting.refresh_from_db()
    running.refresh_from_db()
    assert waiting.status == "interrupted"
    # Its worker stops it, and then confirms that.
    assert (running.status, running.cancel_action) == ("running", "interrupt")
    assert f"{over.id}: it has ended already" in told
    assert "2 runs: cancelled." in told


def test_runs_are_rolled_back(admin_client: Client, make_run: MakeRun) -> None:
    run = make_run()

    choose(admin_client, RUNS, "roll_back", run)

    assert not Run.objects.exists()


def test_a_run_that_failed_is_queued_again_as_a_new_one(
    admin_client: Client, make_run: MakeRun, thread: Thread
) -> None:
    run = ended(make_run(input={"a": 1}, metadata={"b": 2}), "error", {"error": "X"})

    told = choose(admin_client, RUNS, "requeue", run)

    again = Run.objects.pending().get()
    run.refresh_from_db()
    thread.refresh_from_db()
    assert told == "1 run: queued again."
    assert run.status == "error"
    assert (again.thread_id, again.kwargs) == (run.thread_id, run.kwargs)
    assert (again.metadata, again.attempt) == (run.metadata, 0)
    assert again.dispatched_at is not None
    assert thread.status == "busy"


def test_a_running_run_is_not_queued_again(
    admin_client: Client, make_run: MakeRun
) -> None:
    run, temporary = make_run(), make_run(thread_id=None)
    Run.objects.filter(pk=run.pk).update(status="running")
    ended(temporary, "error")

    told = choose(admin_client, RUNS, "requeue", run, temporary)

    assert told.count("it is running, or its thread is gone") == 2
    assert Run.objects.count() == 2


# --- Workers --------------------------------------------------------------------------
def test_the_list_of_workers_shows_heartbeat_and_load(
    admin_client: Client, make_run: MakeRun, worker: Worker
) -> None:
    silent = Worker.objects.create(
        hostname="quiet", pid=1, capacity=5, heartbeat_at=Now() - timedelta(hours=1)
    )
    gone = Worker.objects.create(
        hostname="old", pid=2, capacity=5, expired_at=Now(), heartbeat_at=Now()
    )
    ended(make_run(), "success")
    running = make_run()
    Run.objects.update(worker=worker)
    Run.objects.filter(pk=running.pk).update(status="running")

    response = admin_client.get(WORKERS)

    rows = {row.pk: row for row in response.context["cl"].result_list}
    page = workers.WorkerAdmin(Worker, site)
    assert page.load(rows[worker.pk]) == "1 of 10"
    assert [page.state(rows[w.pk]) for w in (worker, silent, gone)] == [
        "alive",
        "silent",
        "gone",
    ]
    assert listed(admin_client, f"{WORKERS}?state=alive") == {worker.pk}
    assert listed(admin_client, f"{WORKERS}?state=gone") == {silent.pk, gone.pk}
    assert admin_client.get(f"{WORKERS}{worker.pk}/change/").status_code == 200


# --- Webhooks ---------------------------------------------------------------------------
def test_the_log_of_webhooks_is_filtered_and_searched(
    admin_client: Client, delivery: WebhookDelivery
) -> None:
    given_up = WebhookDelivery.objects.create(
        run_id=uuid4(),
        thread_id=uuid4(),
        url="https://example.com/",
        payload={},
        attempts=11,
        last_error="ConnectError: refused",
        next_attempt_at=None,
    )

    text = admin_client.get(WEBHOOKS).content.decode()

    assert "ConnectError: refused" in text
    assert "s3cret" not in text
    assert listed(admin_client, f"{WEBHOOKS}?state=waiting") == {delivery.pk}
    assert listed(admin_client, f"{WEBHOOKS}?state=given+up") == {given_up.pk}
    assert listed(admin_client, f"{WEBHOOKS}?state=delivered") == set()
    assert listed(admin_client, f"{WEBHOOKS}?q={delivery.run_id}") == {delivery.pk}
    page = admin_client.get(f"{WEBHOOKS}{delivery.pk}/change/").content.decode()
    assert "waiting" in page
    assert "s3cret" not in page


def test_a_webhook_is_sent_again(
    admin_client: Client, delivery: WebhookDelivery
) -> None:
    WebhookDelivery.objects.update(
        attempts=11, next_attempt_at=None, delivered_at=Now(), last_status=200
    )

    told = choose(admin_client, WEBHOOKS, "resend", delivery)

    delivery.refresh_from_db()
    assert told == "1 webhook delivery: sent again."
    assert delivery.next_attempt_at is not None
    assert (delivery.attempts, delivery.delivered_at) == (0, None)
    assert delivery.earlier_attempts == 11


# --- Permissions ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "action"),
    [(RUNS, "cancel"), (RUNS, "roll_back"), (RUNS, "requeue"), (WEBHOOKS, "resend")],
)
def test_who_may_only_look_can_do_nothing(
    viewer: Client,
    make_run: MakeRun,
    delivery: WebhookDelivery,
    path: str,
    action: str,
) -> None:
    run = make_run()
    WebhookDelivery.objects.update(next_attempt_at=None)

    viewer.post(path, {"action": action, "_selected_action": [run.pk, delivery.pk]})

    assert viewer.get(path).status_code == 200
    assert Run.objects.get().status == "pending"
    assert WebhookDelivery.objects.get().next_attempt_at is None


def test_who_may_change_runs_may_use_the_actions(
    client_of: Callable[..., Client], make_run: MakeRun
) -> None:
    run = make_run()

    choose(client_of("view_run", "change_run"), RUNS, "cancel", run)

    run.refresh_from_db()
    assert run.status == "interrupted"


@pytest.mark.parametrize("path", [RUNS, WORKERS, WEBHOOKS])
def test_nothing_is_added_here(admin_client: Client, path: str) -> None:
    assert admin_client.get(f"{path}add/").status_code == 403
