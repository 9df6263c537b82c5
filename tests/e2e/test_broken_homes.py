"""A home that can't be written, or has unreadable files: an error in one line."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from spool.tests.e2e.starting import reason_of_refusal, started
from spool.tests.live import Server, wait_until

pytestmark = pytest.mark.e2e


def test_data_that_postgres_does_not_take_is_refused_with_its_log(
    config: Path, tmp_path: Path
) -> None:
    data = tmp_path / "home" / "postgres"
    data.mkdir(parents=True, mode=0o700)
    (data / "PG_VERSION").write_text("9.6\n")

    line = reason_of_refusal(config, tmp_path)

    log = tmp_path / "home" / "logs" / "postgres.log"
    assert line.startswith("spool: postgres exited with status ")
    assert line.endswith(f"; see {log}")
    assert log.read_text()


def test_a_disk_that_is_full_is_named(config: Path, tmp_path: Path) -> None:
    def on_a_small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))

    with started(config, tmp_path, on_a_small_disk) as (process, output):
        assert process.wait(timeout=60) == 1

    (line,) = output.read_text().splitlines()
    assert line.startswith("spool: initdb failed: could not ")
    assert line.endswith("postgres.log, or set DATABASE_URL")


def test_a_server_runs_on_where_nothing_can_be_noted(config: Path) -> None:
    server = Server(config)
    server.start()
    try:
        # The file can't be written, as on a full disk.
        (server.home / "processes.json.new").mkdir()
        before = server.worker()
        before.kill()

        wait_until(lambda: "cannot write the list of processes" in server.output())
        wait_until(lambda: server.worker().pid != before.pid)
        server.wait_until_ready()
    finally:
        server.stop()
