"""Metrics in Prometheus's format: of the server, and of one process."""

from __future__ import annotations

import socket
import urllib.request
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from spool import hooks
from spool.crons.models import Cron, CronFiring
from spool.runs import counting
from spool.runs.figures import MAX_REVISIONS
from spool.runs.periods import Counting
from spool.runs.tests.attempts import MINUTE, SECOND, ago, count_now, ended
from spool.runs.worker import worker
from spool.telemetry import metrics, tasks
from spool.telemetry.tests.prometheus import Family, parse, problems
from spool.tests.live import free_port
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db(transaction=True)

ONE_CALL = {"calls": 1, "input": 10, "output": 5, "cached": 4}


@pytest.fixture(autouse=True)
def _begun(transactional_db: None) -> None:
    hooks.fill()
    counting.count()


def scrape() -> dict[str, Family]:
    return parse(metrics.as_prometheus().decode())


def value(families: dict[str, Family], name: str, ending: str = "", **of: str) -> float:
    [found] = [
        value
        for (end, labels), value in families[name].samples.items()
        if end == ending and of.items() <= dict(labels).items()
    ]
    return found


def test_a_scrape_has_the_format_and_a_linter_finds_nothing(client: Client) -> None:
    ended(ago(SECOND), tokens={"tiny": ONE_CALL})
    count_now()

    response = client.get("/metrics")

    families = parse(response.text)
    assert problems(families) == []
    assert len([name for name in families if name.startswith("spool_")]) > 25


def test_what_ended_shows_by_graph_class_and_revision() -> None:
    for _ in range(2):
        ended(ago(SECOND), tokens={"tiny": ONE_CALL})
    ended(ago(SECOND), "error", revision="r2")
    ended(ago(SECOND), "lost", run_class="cron")
    count_now()

    found = scrape()

    of = {"graph": "echo", "class": "background", "revision": "r1"}
    assert value(found, "spool_runs_ended_total", outcome="success", **of) == 2
    assert value(found, "spool_runs_ended_total", outcome="error", **of) == 0
    assert value(found, "spool_run_duration_seconds", "_count", **of) == 2
    assert value(found, "spool_run_duration_seconds", "_sum", **of) == 6
    for bound, expected in (("2.5", 0), ("5.0", 2)):
        below = value(found, "spool_run_duration_seconds", "_bucket", le=bound, **of)
        assert below == expected
    assert value(found, "spool_run_steps_total", **of) == 4
    assert value(found, "spool_model_calls_total", **of) == 2
    assert value(found, "spool_tokens_total", kind="input", **of) == 20
    bad = {**of, "revision": "r2"}
    assert value(found, "spool_runs_ended_total", outcome="error", **bad) == 1
    delays = {"graph": "echo", "class": "background"}
    assert value(found, "spool_run_delay_seconds", "_count", **delays) == 3
    lost = {"graph": "echo", "class": "cron", "reason": "lost"}
    assert value(found, "spool_run_attempts_resumed_total", **lost) == 1


def test_counters_do_not_decrease_when_their_minutes_are_closed_and_swept() -> None:
    for revision in ("r1", "r2"):
        ended(ago(31 * 24 * 60 * MINUTE), revision=revision)
    ended(ago(SECOND), revision="r3")
    Counting.objects.update(closed_until=ago(32 * 24 * 60 * MINUTE))
    for _ in range(3):
        count_now()
    before = scrape()

    counting.sweep()
    after = scrape()

    of = {"graph": "echo", "class": "background"}
    for found in (before, after):
        assert value(found, "spool_run_delay_seconds", "_count", **of) == 3
    r3 = {"revision": "r3", "outcome": "success"}
    assert value(after, "spool_runs_ended_total", **r3) == 1
    assert len(after["spool_run_steps_total"].samples) == 1


def test_the_number_of_time_series_is_bounded() -> None:
    for number in range(30):
        ended(ago((1 + number) * SECOND), revision=f"r{number}")
    count_now()

    families = scrape()

    labelled = {
        dict(labels)["revision"]
        for _, labels in families["spool_runs_ended_total"].samples
    }
    assert len(labelled) == MAX_REVISIONS
    # The delays are of all revisions.
    assert value(families, "spool_run_delay_seconds", "_count") == 30
    # Other tests of this process have used routes and nodes, which have series too.
    per_graph = sum(
        len(family.samples)
        for name, family in families.items()
        if name.startswith("spool_run")
    )
    assert per_graph < 150


def test_no_label_names_an_owner_or_an_id() -> None:
    attempt = ended(ago(SECOND), "error", owner="alice", error={"error": "E"})
    WebhookDelivery.objects.create(
        run_id=attempt.run_id, thread_id=uuid4(), url="https://a.example", payload={}
    )
    count_now()

    text = metrics.as_prometheus().decode()

    private = ["alice", str(attempt.run_id), str(attempt.thread_id), "a.example"]
    assert not [part for part in private if part in text]


def test_labels_are_known() -> None:
    ended(ago(SECOND))
    count_now()

    found = {name: family.labels() for name, family in scrape().items()}

    known = {"graph", "class", "revision", "outcome", "reason", "kind", "state"}
    known |= {"status", "table", "of", "task", "method", "path", "le", "process"}
    ours = {name: of for name, of in found.items() if name.startswith("spool_")}
    assert {label for of in ours.values() for label in of} <= known


def test_late_crons_show() -> None:
    late = timezone.now() - 5 * MINUTE
    cron = Cron.objects.create(
        assistant_id=uuid4(), schedule="* * * * *", next_run_date=late
    )
    CronFiring.objects.create(cron=cron, slot=ago(30 * SECOND), status="success")

    found = scrape()

    assert value(found, "spool_crons_due") == 1
    assert 300 <= value(found, "spool_cron_lateness_seconds", of="due") < 330
    assert 30 <= value(found, "spool_cron_lateness_seconds", of="fired") < 60


def test_the_backlog_of_webhooks_shows() -> None:
    def deliver(**given: Any) -> None:
        row = {"run_id": uuid4(), "thread_id": uuid4(), "url": "https://a.example"}
        WebhookDelivery.objects.create(**row, payload={}, **given)

    deliver(next_attempt_at=ago(2 * MINUTE))
    deliver(next_attempt_at=timezone.now() + timedelta(hours=1))
    deliver(next_attempt_at=None)
    deliver(next_attempt_at=None, delivered_at=timezone.now())

    found = scrape()

    assert value(found, "spool_webhook_deliveries", state="waiting") == 2
    assert value(found, "spool_webhook_deliveries", state="given_up") == 1
    assert 120 <= value(found, "spool_webhook_overdue_seconds") < 150


def test_a_tick_that_does_not_come_shows() -> None:
    Counting.objects.update(counted_at=ago(7 * MINUTE))

    assert 420 <= value(scrape(), "spool_tick_age_seconds") < 450


def test_figures_of_the_process_carry_its_id(client: Client) -> None:
    client.get("/ok")

    families = parse(client.get("/metrics").text)

    mine = [name for name, f in families.items() if f.labels() >= {"process"}]
    assert {
        "spool_http_requests_total",
        "spool_stream_viewers",
        "spool_web_threads",
        "spool_postgres_pool_connections",
        "process_cpu_seconds_total",
    } <= set(mine)
    assert not [name for name in mine if name.startswith(("spool_runs", "spool_run_"))]
    process = metrics.name_of_process()
    assert value(families, "spool_web_threads", state="max", process=process) > 0


def test_without_postgres_a_scrape_has_the_process_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("the connection is refused")

    monkeypatch.setattr("spool.runs.figures._fetch", refuse)

    found = scrape()

    assert value(found, "spool_postgres_up") == 0
    assert "spool_web_threads" in found
    assert "spool_runs" not in found


def test_a_worker_serves_its_own_figures_on_the_first_free_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "_worker", worker.Worker())
    first = free_port()
    with socket.create_server(("127.0.0.1", first)):
        port = metrics.serve("127.0.0.1", first)

    assert port
    assert port > first
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        families = parse(response.read().decode())
    assert problems(families) == []
    assert value(families, "spool_worker_runs") == 0
    assert value(families, "spool_worker_capacity") == 10
    assert "spool_runs_ended_total" not in families


def test_tasks_are_timed_except_for_runs() -> None:
    class Named:
        name = "runs.tasks.tick"

    class Executes:
        name = tasks.EXECUTES_RUNS

    for task in (Named, Executes):
        tasks._begin("an-id", task)  # type: ignore[arg-type]
        tasks._end("an-id", task, "SUCCESS")  # type: ignore[arg-type]

    families = scrape()["spool_task_seconds"]
    labelled = {dict(labels)["task"] for _, labels in families.samples}
    assert Named.name in labelled
    assert Executes.name not in labelled


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("spool_a 1\n", "a sample without a type"),
        ("# TYPE a gauge\nb 1\n", "is in the group"),
        ("# TYPE a gauge\na 1\na 2\n", "a time series twice"),
        ('# TYPE a gauge\na{b="1",b="2"} 1\n', "a label twice"),
        ('# TYPE a gauge\na{b="x} 1\n', "no sample"),
        ("# TYPE a gauge\na 1", "has no end"),
    ],
)
def test_the_check_of_the_format_finds(text: str, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n", "only these"),
        ("# HELP a A.\n# TYPE a counter\na 1\n", "counters end with _total"),
        ("# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n", "use base units"),
        ("# TYPE a gauge\na 1\n", "has no text"),
        (
            '# HELP a A.\n# TYPE a histogram\na_bucket{le="1"} 1\na_count 1\na_sum 1\n',
            "has no bucket +Inf",
        ),
        (
            "# HELP a A.\n# TYPE a histogram\n"
            'a_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_count 1\na_sum 1\n',
            "has buckets that decrease",
        ),
    ],
)
def test_the_linter_finds(text: str, problem: str) -> None:
    [found] = problems(parse(text))
    assert problem in found
