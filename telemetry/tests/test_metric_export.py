"""Metrics over OTLP: a receiver of the protocol gets the same figures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from spool import hooks
from spool.runs import counting
from spool.runs.counting import claim_export
from spool.runs.periods import BUCKETS, Counting
from spool.runs.tests.attempts import MINUTE, SECOND, ago, count_now, ended
from spool.telemetry import metric_export, otel_metrics
from spool.telemetry.otel_metrics import Exporting
from spool.telemetry.tests.otlp_metrics import Receiver, receiving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Receiver]:
    hooks.fill()
    counting.count()
    with receiving() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


@pytest.fixture
def exporting(receiver: Receiver) -> Iterator[Exporting]:
    new = Exporting("web", claim_export)
    yield new
    new.stop()


def test_figures_arrive_in_the_protocols_form(
    receiver: Receiver, exporting: Exporting
) -> None:
    for _ in range(2):
        ended(ago(SECOND))
    count_now()

    exporting.export()

    of = {"graph": "echo", "class": "background", "revision": "r1"}
    [success] = [
        point
        for point in receiver.named("spool_runs_ended")
        if point.attributes == {**of, "outcome": "success"}
    ]
    assert (success.kind, success.value) == ("sum", 2)
    assert (success.instance, success.service) == ("server", "spool")
    [duration] = receiver.named("spool_run_duration_seconds")
    expected = [0] * (len(BUCKETS) + 1)
    expected[BUCKETS.index(5)] = 2
    assert duration.value == tuple(expected)
    assert duration.attributes == of
    [capacity] = [
        p
        for p in receiver.named("spool_web_threads")
        if p.attributes == {"state": "max"}
    ]
    assert (capacity.kind, capacity.value) == ("gauge", 8)
    assert capacity.instance not in ("", "server")
    assert "process" not in capacity.attributes


def test_only_one_process_exports_the_figures_of_the_server(
    receiver: Receiver, exporting: Exporting
) -> None:
    another = Exporting("worker", claim_export)
    for process in (exporting, another, exporting):
        process.export()

    assert len(receiver.named("spool_postgres_up")) == 1
    assert len(receiver.named("process_cpu_seconds")) == 3
    # After an interval, the next process may claim it.
    Counting.objects.update(exported_at=ago(2 * MINUTE))
    another.export()
    assert len(receiver.named("spool_postgres_up")) == 2
    another.stop()


def test_the_claim_is_free_again_after_its_time(receiver: Receiver) -> None:
    assert claim_export(timedelta(hours=1))
    assert not claim_export(timedelta(hours=1))
    assert claim_export(timedelta())


def test_a_receiver_that_is_away_is_logged_once_and_counted(
    receiver: Receiver, exporting: Exporting, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 400
    before = otel_metrics.DROPPED._value.get()

    for _ in range(3):
        exporting.export()
    receiver.status = 200
    exporting.export()

    assert otel_metrics.DROPPED._value.get() - before == 3
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines if "receiver" in line] == [
        "The receiver of metrics is away: metrics were not accepted",
        next(line for line in lines if "is back" in line).split(",")[0],
    ]
    assert not [r for r in caplog.records if r.exc_info]


def test_the_last_figures_are_exported_at_the_end(receiver: Receiver) -> None:
    metric_export.start("worker", claim_export)
    assert receiver.requests == 0

    metric_export.stop()

    assert receiver.requests == 1
    assert receiver.named("spool_postgres_up")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ],
)
def test_nothing_is_exported_unless_it_is_asked_for(
    receiver: Receiver, name: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, setting)

    metric_export.start("web", claim_export)
    metric_export.stop()

    assert receiver.requests == 0
