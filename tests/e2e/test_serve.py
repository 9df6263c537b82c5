"""`spool serve` for an operator: starts, stops, and errors."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from spool.tests.commands import run_program
from spool.tests.conftest import CONFIG
from spool.tests.e2e.starting import given_servers, refused, started
from spool.tests.live import (
    ROOT,
    WAIT_SECS,
    Server,
    UsersServer,
    running,
    wait_until,
)

pytestmark = pytest.mark.e2e

PAGES = """
async def app(scope, receive, send):
    status = 200 if scope["path"] == "/metrics" else 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"up 1"})
"""


# An app whose start fails, which only shows when the web process starts.
CLOSED = """
async def app(scope, receive, send):
    await send({"type": "lifespan.startup.failed", "message": "no pages"})
"""


@pytest.fixture
def fresh(config: Path) -> Iterator[Server]:
    """A new server of the test, just started for the first time."""
    with running(UsersServer(config)) as server:
        yield server


@pytest.fixture(scope="module")
def hurt() -> Iterator[Server]:
    """The server whose processes are killed one after another."""
    with running(UsersServer(CONFIG)) as server:
        yield server


def test_the_first_start_tells_everything_once(fresh: Server) -> None:
    first = fresh.output()
    fresh.stop(keep_home=True)
    fresh.start()

    assert f"Spool is ready at {fresh.url}\n" in first
    assert f"{fresh.url}/docs" in first
    assert f"{fresh.url}/admin/  (user admin, password " in first
    assert str(fresh.home / "logs") in first
    assert "password" not in fresh.output()


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_works(
    fresh: Server,
) -> None:
    thread = httpx.post(f"{fresh.url}/threads", json={}, timeout=WAIT_SECS).json()
    everything = fresh.processes()

    fresh.kill()
    fresh.start()

    assert not [process for process in everything if is_alive(process)]
    kept = httpx.get(f"{fresh.url}/threads/{thread['thread_id']}", timeout=WAIT_SECS)
    assert kept.status_code == 200


@pytest.mark.parametrize(
    "words",
    [
        {"spool", "web"},
        {"--name"},
        {"beat"},
        {"valkey-server"},
        {"postgres", "-D"},
    ],
    ids=["web", "worker", "beat", "valkey", "postgres"],
)
def test_a_killed_child_is_started_again(hurt: Server, words: set[str]) -> None:
    killed = next(p for p in hurt.processes() if has_words(p, words))

    killed.kill()

    wait_until(lambda: has_successor(hurt, killed, words))
    wait_until(lambda: runs_to_the_end(hurt))


@pytest.mark.parametrize(
    "environment",
    [
        # Requests to the server's own address would be refused.
        {"ALLOWED_HOSTS": "spool.example.com"},
        # No worker would ever have a slot for a run.
        {"N_JOBS_PER_WORKER": "0", "HOST": "::1"},
        # `/metrics` is a page of the operator's app.
        {"LANGGRAPH_HTTP": '{"app": "./pages.py:app"}'},
    ],
    ids=["hosts", "places", "pages"],
)
def test_a_server_with_unusual_settings_is_ready_too(
    config: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "pages.py").write_text(PAGES)

    with started(config, tmp_path, None, **environment, **given_servers()) as (
        _,
        output,
    ):
        wait_until(lambda: "Spool is ready at http://" in output.read_text())


def test_the_password_is_told_where_a_first_start_fails_late(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "pages.py").write_text(CLOSED)
    pages = {"LANGGRAPH_HTTP": '{"app": "./pages.py:app"}'}

    lines = refused(config, tmp_path, **pages)

    assert any("spool: web exited with status" in line for line in lines)
    (told,) = [line for line in lines if "user admin, password" in line]
    password = told.partition("password ")[2].rstrip(")")
    log = (tmp_path / "home" / "logs" / "prepare.log").read_text()
    assert len(password) == 16
    assert password not in log


def test_ctrl_c_ends_every_process(fresh: Server) -> None:
    everything = fresh.processes()

    everything[0].send_signal(signal.SIGINT)

    assert fresh.wait() == 0
    assert not [process for process in everything if is_alive(process)]


def test_a_server_that_is_to_survive_its_terminal_does(
    config: Path, tmp_path: Path
) -> None:
    def no_hang_up() -> None:  # Ignore the signal, as `nohup` does.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with started(config, tmp_path, no_hang_up, **given_servers()) as (server, output):
        wait_until(lambda: "Spool is ready" in output.read_text())

        status = Path(f"/proc/{server.pid}/status").read_text()

    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert ignored & 1 << (signal.SIGHUP - 1)


def test_a_stop_hands_runs_back_for_the_next_start() -> None:
    server = UsersServer(
        ROOT / "examples" / "langgraph.json", BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS=""
    )
    server.start()
    asked = {"assistant_id": "slow", "input": {"steps": 300, "delay": 0.2}}
    thread = httpx.post(f"{server.url}/threads", json={}, timeout=WAIT_SECS).json()[
        "thread_id"
    ]
    httpx.post(f"{server.url}/threads/{thread}/runs", json=asked, timeout=WAIT_SECS)
    wait_until(lambda: attempts(server) == [("running", 1, 0)])

    server.stop(keep_home=True)
    server.start()

    try:
        # A worker that was killed instead would count as a loss.
        wait_until(lambda: attempts(server) == [("running", 2, 0)])
    finally:
        server.stop()


def test_a_second_server_in_the_same_home_is_refused(
    hurt: Server, config: Path, tmp_path: Path
) -> None:
    lines = refused(config, tmp_path, SPOOL_HOME=str(hurt.home))

    assert lines == [
        f"spool: a server is already running in {hurt.home}; stop it, or set SPOOL_HOME"
    ]


def attempts(server: Server) -> list[tuple[str, int, int]]:
    with psycopg.connect(server.environment()["DATABASE_URL"]) as conn:
        return conn.execute("SELECT status, attempt, losses FROM runs").fetchall()


def is_alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def has_words(process: psutil.Process, words: set[str]) -> bool:
    try:
        return words <= {process.name(), *" ".join(process.cmdline()).split()}
    except psutil.Error:
        return False


def has_successor(server: Server, killed: psutil.Process, words: set[str]) -> bool:
    return any(
        has_words(process, words) and process.pid != killed.pid
        for process in server.processes()
    )


def runs_to_the_end(server: Server) -> bool:
    try:
        answer = httpx.post(
            f"{server.url}/runs/wait",
            json={"assistant_id": "echo", "input": {"messages": []}},
            timeout=WAIT_SECS,
        )
    except httpx.HTTPError:
        return False
    return bool(answer.status_code == 200 and "messages" in answer.json())


def test_a_project_is_imported_once_by_each_process_that_needs_it(
    config: Path, tmp_path: Path
) -> None:
    agent = tmp_path / "agent.py"
    noted = tmp_path / "imports"
    note = f"import os\nprint(os.getpid(), file=open({str(noted)!r}, 'a'))\n"
    agent.write_text(note + agent.read_text())

    with running(UsersServer(config)) as server:
        healthy = [health(server, name) for name in ("web", "worker", "beat")]
        web, worker = server.web().pid, server.worker().pid

        assert sorted(map(int, noted.read_text().split())) == sorted([web, worker])
        assert healthy == [0, 0, 0]


def health(server: Server, program: str) -> int:
    return run_program("health", program, environment=server.environment()).returncode
