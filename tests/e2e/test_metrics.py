"""The metrics of a whole server, and their use in `deploy/`."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from spool.telemetry.tests.otlp_metrics import Receiver, receiving
from spool.telemetry.tests.prometheus import Family, parse, problems
from spool.tests import promql
from spool.tests.conftest import CONFIG
from spool.tests.live import ROOT, WAIT_SECS, free_port, serving, wait_until

pytestmark = pytest.mark.e2e

ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/spool.json"


@dataclass
class Scrapes:
    web: dict[str, Family]
    worker: dict[str, Family]
    receiver: Receiver

    @property
    def labels(self) -> dict[str, set[str]]:
        """The names of samples, with the labels of each."""
        found: dict[str, set[str]] = {}
        for families in (self.web, self.worker):
            for family in families.values():
                for (ending, labels), _ in family.samples.items():
                    named = found.setdefault(family.name + ending, set())
                    named |= {key for key, _ in labels}
        return found


def scrape(url: str) -> dict[str, Family]:
    with urllib.request.urlopen(url, timeout=WAIT_SECS) as response:  # noqa: S310
        return parse(response.read().decode())


def ended(families: dict[str, Family]) -> Counter[str]:
    """The numbers of runs that ended, by revision and outcome."""
    found: Counter[str] = Counter()
    for (_, labels), count in families["spool_runs_ended_total"].samples.items():
        named = dict(labels)
        found[f"{named['revision']} {named['outcome']}"] += int(count)
    return +found


@pytest.fixture(scope="module")
def scrapes() -> Iterator[Scrapes]:
    """A server that has executed a few runs, and its metrics."""
    port = free_port()
    with (
        receiving() as receiver,
        serving(
            CONFIG,
            METRICS_PORT=str(port),
            SPOOL_REVISION="v7",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRIC_EXPORT_INTERVAL="1000",
        ) as server,
    ):
        for graph in ("echo", "chat", "raises"):
            body: Any = {"assistant_id": graph, "input": {"messages": []}}
            httpx.post(f"{server.url}/runs/wait", json=body, timeout=WAIT_SECS)
        web, worker = f"{server.url}/metrics", f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: ended(scrape(web)).total() == 3)
        wait_until(lambda: len(exporters(receiver)) == 3)
        yield Scrapes(scrape(web), scrape(worker), receiver)


def exporters(receiver: Receiver) -> set[str]:
    """The instances that have exported: processes, and the server."""
    return {point.instance for point in list(receiver.points)}


def test_runs_show_by_their_revision(scrapes: Scrapes) -> None:
    assert ended(scrapes.web) == {"v7 success": 2, "v7 error": 1}


@pytest.mark.parametrize("of", ["web", "worker"])
def test_a_linter_finds_nothing(of: str, scrapes: Scrapes) -> None:
    families: dict[str, Family] = getattr(scrapes, of)

    assert problems(families) == []
    process = {
        dict(labels).get("process")
        for _, labels in families["process_cpu_seconds_total"].samples
    }
    assert len(process) == 1


def test_a_worker_shows_its_tasks(scrapes: Scrapes) -> None:
    tasks = scrapes.worker["spool_task_seconds"].samples

    assert {"runs.tasks.tick", "crons.tasks.tick"} <= {
        dict(labels)["task"] for _, labels in tasks
    }
    assert "spool_runs_ended_total" not in scrapes.worker


def test_the_same_is_exported(scrapes: Scrapes) -> None:
    assert "server" in exporters(scrapes.receiver)
    assert scrapes.receiver.named("spool_worker_runs")
    wait_until(lambda: scrapes.receiver.named("spool_runs_ended"))


@pytest.mark.parametrize("name", sorted(promql.of_alerts(ALERTS)))
def test_an_alert_names_what_is_there(name: str, scrapes: Scrapes) -> None:
    expression = promql.of_alerts(ALERTS)[name]

    assert "spool_" in expression
    assert list(promql.unknown(expression, scrapes.labels)) == []


@pytest.mark.parametrize("panel", sorted(promql.of_dashboard(DASHBOARD)))
def test_a_panel_names_what_is_there(panel: str, scrapes: Scrapes) -> None:
    expression = promql.of_dashboard(DASHBOARD)[panel]

    assert list(promql.unknown(expression, scrapes.labels)) == []


def test_a_name_that_is_not_there_is_found(scrapes: Scrapes) -> None:
    expression = 'sum by (owner) (rate(spool_gone_total[1m])) / spool_runs{user="a"}'

    assert list(promql.unknown(expression, scrapes.labels)) == [
        "spool_gone_total",
        "spool_runs{user}",
        "by (owner)",
    ]
