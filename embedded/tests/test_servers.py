"""The servers from the wheels, each started separately."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
import redis

from spool.embedded import postgres, processes, valkey
from spool.embedded.postgres import Postgres, check_reach, socket_directory
from spool.embedded.processes import CannotStart
from spool.embedded.valkey import Valkey


@contextmanager
def running(server: Postgres | Valkey) -> Iterator[subprocess.Popen[bytes]]:
    log = server.data.parent / "log"
    with log.open("ab", buffering=0) as output:
        process = server.start(output)
    try:
        server.wait_ready(process)
        yield process
    finally:
        processes.stop(process, server.stop_signal, 60)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (postgres.binaries() / "postgres", "PostgreSQL) 18."),
        (postgres.binaries() / "initdb", "PostgreSQL) 18."),
        (postgres.binaries() / "psql", "PostgreSQL) 18."),
        (valkey.binary(), "v=9."),
    ],
)
def test_the_wheels_hold_the_programs_that_are_pinned(program: Path, says: str) -> None:
    version = subprocess.run([program, "--version"], capture_output=True, text=True)

    assert version.returncode == 0
    assert says in version.stdout


def test_postgres_keeps_what_was_committed_before_a_kill(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    with running(server) as process:
        with psycopg.connect(server.url) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 1 AS number")
        process.kill()
        process.wait()

    with running(server), psycopg.connect(server.url) as conn:
        assert conn.execute("SELECT number FROM kept").fetchall() == [(1,)]


def test_postgres_has_vectors_and_unicode_on_any_host(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    with running(server), psycopg.connect(server.url) as conn:
        conn.execute("CREATE EXTENSION vector")
        upper = conn.execute("SELECT upper('straße ä')").fetchone()

    assert upper == ("STRASSE Ä",) or upper == ("STRAßE Ä",)


def test_postgres_starts_beside_a_strangers_process_of_the_same_pid(
    tmp_path: Path,
) -> None:
    server = Postgres(tmp_path)
    with running(server):
        pass
    # As after a restart of the machine: the pid belongs to another process.
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")

    with running(server), psycopg.connect(server.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_postgres_listens_on_no_network_address(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    with running(server), psycopg.connect(server.url) as conn:
        addresses = conn.execute("SHOW listen_addresses").fetchone()

    assert addresses == ("",)
    assert socket_directory(tmp_path).stat().st_mode & 0o777 == 0o700


def test_what_an_interrupted_initdb_left_is_not_used(tmp_path: Path) -> None:
    half = tmp_path / "postgres-interrupted"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server = Postgres(tmp_path)

    with running(server), psycopg.connect(server.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert not half.exists()


def test_a_home_with_a_long_path_still_has_sockets(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 30)
    home.mkdir()
    server = Valkey(home)

    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.ping()
    assert len(str(server.socket)) < 107


def test_valkey_keeps_its_queue_over_a_restart(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    with running(server), redis.Redis.from_url(server.url) as client:
        client.lpush("queue", "run")

    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.lrange("queue", 0, -1) == [b"run"]


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A directory that all users may enter; those of pytest are private."""
    with TemporaryDirectory(dir="/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_directories_without_access_for_the_user_are_named(anywhere: Path) -> None:
    closed = anywhere / "closed"
    closed.mkdir(mode=0o700)
    check_reach(closed)

    with pytest.raises(CannotStart, match=f"no access to {closed}:"):
        check_reach(anywhere, closed / "postgres")


def unprivileged_user_has_the_programs() -> bool:
    try:
        check_reach(postgres.binaries())
    except CannotStart:
        return False
    return os.geteuid() == 0


@pytest.mark.skipif(
    not unprivileged_user_has_the_programs(), reason="only root changes its user"
)
def test_root_without_namespaces_runs_it_give_up_root(
    monkeypatch: pytest.MonkeyPatch, anywhere: Path
) -> None:
    monkeypatch.setattr(processes, "_namespaces_work", lambda: False)
    server = Postgres(anywhere)

    with running(server) as process, psycopg.connect(server.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
        assert Path(f"/proc/{process.pid}").owner() == "nobody"


def test_a_server_that_ends_at_once_is_an_error_that_says_so(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    process = processes.spawn(
        ["false"], output=subprocess.DEVNULL, death_signal=signal.SIGKILL
    )

    with pytest.raises(CannotStart, match="valkey exited with status 1"):
        server.wait_ready(process)
