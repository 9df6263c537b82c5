"""`spool health` and `spool doctor` with healthy processes, and with others."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
from django.conf import LazySettings

from spool.beat_scheduler import _note_time
from spool.config.env import beat_file
from spool.programs import diagnosis, health, limits
from spool.programs.findings import ERROR
from spool.runs.models import Worker
from spool.tests.live import ROOT, free_port


def told(program: str, capsys: pytest.CaptureFixture[str], **given: str) -> str:
    status = health.main(
        Namespace(**{"program": program, "host": None, "port": None, **given})
    )
    return f"{status} {capsys.readouterr().out}"


def test_a_web_process_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())

    line = told("web", capsys, port=port)

    assert line.startswith(f"1 web: http://127.0.0.1:{port}/ok does not answer: ")
    assert line.count("\n") == 1


def test_beat_is_well_for_as_long_as_it_is_at_work(
    settings: LazySettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.SPOOL_HOME = tmp_path
    before = told("beat", capsys)

    _note_time()
    at_work = told("beat", capsys)
    long_ago = time.time() - health.BEAT_SECS - 5
    os.utime(beat_file(tmp_path), (long_ago, long_ago))
    stuck = told("beat", capsys)

    assert before.startswith("1 beat: there is no ")
    assert at_work == "0 beat: sending tasks\n"
    assert stuck.startswith("1 beat: no task sent for ")


def test_a_postgres_that_is_away_is_named(
    settings: LazySettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.DATABASE_CONNINFO = {"host": "127.0.0.1", "port": "1"}

    line = told("worker", capsys)

    assert line.startswith("1 worker: cannot read heartbeats from Postgres: ")
    assert line.count("\n") == 1


def test_a_web_process_raises_its_limit_of_open_files(settings: LazySettings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings.WEB_MAX_VIEWERS = 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        limits.raise_open_files()

        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limits.needed_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_files_for_the_viewers_are_an_error(settings: LazySettings) -> None:
    settings.WEB_MAX_VIEWERS = limits.allowed_files()

    finding = diagnosis._files()

    assert finding.state == ERROR
    assert "WEB_MAX_VIEWERS" in finding.text


@pytest.mark.django_db
def test_workers_elsewhere_need_a_common_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DJANGO_SECRET_KEY", raising=False)
    Worker.objects.create(hostname="elsewhere", pid=1, capacity=10)

    alone = [f for f in diagnosis._workers() if f.state == ERROR]
    monkeypatch.setenv("DJANGO_SECRET_KEY", "one for all")
    together = [f for f in diagnosis._workers() if f.state == ERROR]

    assert [f.subject for f in alone] == ["secret key"]
    assert "elsewhere" in alone[0].text
    assert together == []


def doctor(**environment: str) -> tuple[int, dict[str, str], str]:
    """Run `spool doctor`. Return its status, each subject's state, and its output."""
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "spool", "doctor", "--json"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    answer = json.loads(asked.stdout)
    assert answer["ok"] is (asked.returncode == 0)
    assert asked.stderr == ""
    states = {one["subject"]: one["state"] for one in answer["findings"]}
    return asked.returncode, states, asked.stdout


def test_doctor_names_settings_that_cannot_be() -> None:
    status, states, said = doctor(N_JOBS_PER_WORKER="many")

    assert (status, states) == (1, {"settings": "error"})
    assert "N_JOBS_PER_WORKER" in said


def test_doctor_names_tables_and_servers_that_are_not_there(empty: str) -> None:
    status, states, _ = doctor(DATABASE_URL=empty, REDIS_URL="redis://127.0.0.1:1/0")

    assert status == 1
    assert states["Postgres"] == states["graphs"] == "ok"
    assert states["migrations"] == states["Redis"] == "error"


def test_doctor_names_a_package_that_a_graph_needs(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("import langchain_nowhere.models")
    config = tmp_path / "langgraph.json"
    config.write_text('{"graphs": {"agent": "./agent.py:graph"}}')

    _, states, said = doctor(LANGGRAPH_CONFIG=str(config))

    assert states["graphs"] == "error"
    assert "pip install langchain-nowhere" in said
