"""`python -m embedded` as an operator meets it: starts, stops, and why it does not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedded import processes
from embedded.supervisor import ROOT
from tests.conftest import CONFIG
from tests.live import OURS, Server, free_port, wait_until

pytestmark = pytest.mark.e2e

GRAPH = """
from langgraph.graph import START, StateGraph

builder = StateGraph(dict)
builder.add_node("echo", lambda state: state)
builder.add_edge(START, "echo")
graph = builder.compile()
"""

PAGES = """
async def app(scope, receive, send):
    status = 200 if scope["path"] == "/metrics" else 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"up 1"})
"""


# It starts only together with the web process.
CLOSED = """
async def app(scope, receive, send):
    await send({"type": "lifespan.startup.failed", "message": "no pages"})
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A `langgraph.json` of one small graph."""
    (tmp_path / "agent.py").write_text(GRAPH)
    file = tmp_path / "langgraph.json"
    file.write_text(
        json.dumps({"dependencies": ["."], "graphs": {"echo": "./agent.py:graph"}})
    )
    return file


@pytest.fixture
def fresh(config: Path) -> Iterator[Server]:
    """A server of the test's own, just started for the first time."""
    server = Server(config)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def hurt() -> Iterator[Server]:
    """The server that loses one process after the other."""
    server = Server(CONFIG)
    server.start()
    yield server
    server.stop()


@contextmanager
def started(
    config: Path,
    tmp_path: Path,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server, and the file that it prints to."""
    inherited = {key: v for key, v in os.environ.items() if key not in OURS}
    given = {"SPOOL_HOME": str(tmp_path / "home"), "PORT": str(free_port())}
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = processes.spawn(
            [sys.executable, "-m", "embedded", "--config", str(config)],
            output=file,
            death_signal=signal.SIGTERM,
            env={**inherited, **given, **environment},
            cwd=ROOT,
            before=before,
        )
    try:
        yield process, output
    finally:
        processes.stop(process, signal.SIGTERM, 30)


def refused(
    config: Path, tmp_path: Path, *options: str, **environment: str
) -> list[str]:
    """The lines that a start says which can't work; it must fail."""
    inherited = {key: v for key, v in os.environ.items() if key not in OURS}
    home = {"SPOOL_HOME": str(tmp_path / "home")}
    start = subprocess.run(
        [sys.executable, "-m", "embedded", "--config", str(config), *options],
        cwd=ROOT,
        env={**inherited, **home, **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert start.returncode == 1
    return (start.stdout + start.stderr).splitlines()


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
    thread = httpx.post(f"{fresh.url}/threads", json={}).json()
    everything = fresh.processes()

    fresh.kill()
    fresh.start()

    assert not [process for process in everything if is_alive(process)]
    kept = httpx.get(f"{fresh.url}/threads/{thread['thread_id']}")
    assert kept.status_code == 200


@pytest.mark.parametrize(
    "words",
    [
        {"config.asgi:application"},
        {"config", "worker"},
        {"config", "beat"},
        {"valkey-server"},
        {"postgres", "-D"},
    ],
    ids=["web", "worker", "beat", "valkey", "postgres"],
)
def test_a_killed_child_is_started_again(hurt: Server, words: set[str]) -> None:
    killed = next(p for p in hurt.processes() if has_words(p, words))

    killed.kill()

    wait_until(lambda: has_successor(hurt, killed, words), 30)
    wait_until(lambda: runs_to_the_end(hurt), 30)


@pytest.mark.parametrize(
    "environment",
    [
        # Its own address is not among those that are answered.
        {"ALLOWED_HOSTS": "spool.example.com"},
        # No worker will ever have a place for a run.
        {"N_JOBS_PER_WORKER": "0", "HOST": "::1"},
        # `/metrics` is a page of the operator's own.
        {"LANGGRAPH_HTTP": '{"app": "./pages.py:app"}'},
    ],
    ids=["hosts", "places", "pages"],
)
def test_a_server_with_unusual_settings_is_ready_too(
    config: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "pages.py").write_text(PAGES)

    with started(config, tmp_path, None, **environment, **_given_servers()) as (
        _,
        output,
    ):
        wait_until(lambda: "Spool is ready at http://" in output.read_text(), 60)


def test_the_password_is_told_where_a_first_start_fails_late(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "pages.py").write_text(CLOSED)
    pages = {"LANGGRAPH_HTTP": '{"app": "./pages.py:app"}'}

    lines = refused(config, tmp_path, **pages)

    assert any("spool: web ended with status" in line for line in lines)
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
    def no_hang_up() -> None:  # As `nohup` has it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with started(config, tmp_path, no_hang_up, **_given_servers()) as (server, output):
        wait_until(lambda: "Spool is ready" in output.read_text(), 60)

        status = Path(f"/proc/{server.pid}/status").read_text()

    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert ignored & 1 << (signal.SIGHUP - 1)


def test_a_stop_hands_runs_back_for_the_next_start() -> None:
    server = Server(ROOT / "langgraph.json", BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS="")
    server.start()
    asked = {"assistant_id": "slow", "input": {"steps": 300, "delay": 0.2}}
    thread = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
    httpx.post(f"{server.url}/threads/{thread}/runs", json=asked)
    wait_until(lambda: attempts(server) == [("running", 1, 0)], 20)

    server.stop(keep_home=True)
    server.start()

    try:
        # A worker that was killed instead would count as a loss.
        wait_until(lambda: attempts(server) == [("running", 2, 0)], 20)
    finally:
        server.stop()


def test_a_second_server_in_the_same_home_is_refused(
    hurt: Server, config: Path, tmp_path: Path
) -> None:
    lines = refused(config, tmp_path, SPOOL_HOME=str(hurt.home))

    assert lines == [
        f"spool: a server is already running in {hurt.home}; stop it, or set SPOOL_HOME"
    ]


def test_a_port_in_use_is_refused(config: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        lines = refused(config, tmp_path, "--port", str(port))

    assert lines == [
        f"spool: cannot listen on 127.0.0.1:{port}: Address already in use; choose "
        "another with --port (or PORT)"
    ]


@pytest.mark.parametrize(
    ("variable", "url", "reason"),
    [
        (
            "DATABASE_URL",
            "postgresql://x@127.0.0.1:1/x",
            "cannot reach Postgres (DATABASE_URL)",
        ),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "cannot reach Redis (REDIS_URL)"),
        ("REDIS_URL", "localhost", "cannot reach Redis (REDIS_URL)"),
        ("PORT", "eight", "--port must be a number"),
        ("N_JOBS_PER_WORKER", "many", "N_JOBS_PER_WORKER must be"),
        ("HOST", " ", "--host must name an address"),
        ("LANGGRAPH_HTTP", '{"cors": 5}', "langgraph.json: http.cors must be"),
        (
            "LANGGRAPH_HTTP",
            '{"configurable_headers": {"includes": "x"}}',
            "langgraph.json: http.configurable_headers.includes must be",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    config: Path, tmp_path: Path, variable: str, url: str, reason: str
) -> None:
    given = {**_given_servers(), variable: url}

    (line,) = refused(config, tmp_path, **given)

    assert line.startswith(f"spool: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", "graphs"),
        ('{"graphs": {"echo": 5}}', "graphs.echo"),
        ('{"graphs": {"echo": "./agent.py"}}', "graphs.echo"),
        ('{"graphs": {"echo": "./nowhere.py:graph"}}', "echo"),
        ('{"graphs": {"echo": "./agent.py:missing"}}', "echo"),
        ('{"graphs": {"echo": "./agent.ts:graph"}}', "agent.ts is not a Python file"),
        ('{"graphs": {"echo": "./agent.py:graph"}, "env": 5}', "env"),
        ('{"graphs": {"echo": "./agent.py:graph"}, "dependencies": [5]}', "dependen"),
        (
            '{"graphs": {"echo": {"path": "./agent.py:graph", "description": 5}}}',
            "graphs.echo.description",
        ),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_broken_langgraph_json_is_one_line_that_names_the_key(
    config: Path, tmp_path: Path, text: str, reason: str
) -> None:
    config.write_bytes(text.encode(errors="surrogateescape"))

    (line,) = refused(config, tmp_path, **_given_servers())

    assert line.startswith("spool: ")
    assert reason in line


@pytest.mark.parametrize(
    ("statement", "exception"),
    [
        ("raise RuntimeError('no model')", "RuntimeError: no model"),
        ("raise ValueError('1 error\\nkey\\n  is missing')", "1 error key is missing"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_graph_that_fails_to_import_names_graph_file_line_and_exception(
    config: Path, tmp_path: Path, statement: str, exception: str
) -> None:
    (tmp_path / "agent.py").write_text(f"x = 1\n\n{statement}\n")

    (line,) = refused(config, tmp_path, **_given_servers())

    assert "graph 'echo'" in line
    assert f"{tmp_path / 'agent.py'}:3" in line
    assert exception in line


def test_routes_that_cannot_be_loaded_are_one_line(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "pages.py").write_text("raise LookupError('no pages')")
    pages = {"LANGGRAPH_HTTP": '{"app": "./pages.py:app"}'}

    (line,) = refused(config, tmp_path, **pages, **_given_servers())

    assert line == (
        "spool: http.app: cannot load ./pages.py:app: LookupError: no pages"
    )


def test_a_database_that_cannot_be_migrated_is_one_line(
    config: Path, tmp_path: Path
) -> None:
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS reader")
        conn.execute("CREATE ROLE reader LOGIN")
        conn.execute("DROP DATABASE IF EXISTS readable")
        conn.execute("CREATE DATABASE readable")
    readable = make_conninfo(url, user="reader", dbname="readable")

    (line,) = refused(
        config, tmp_path, **{**_given_servers(), "DATABASE_URL": readable}
    )

    assert line.startswith("spool: cannot migrate the database (DATABASE_URL): ")
    assert "permission denied for schema public" in line


def test_no_config_at_all_is_refused(tmp_path: Path) -> None:
    (line,) = refused(tmp_path / "none.json", tmp_path)

    assert line == (
        f"spool: there is no {tmp_path / 'none.json'}: set --config (or "
        "LANGGRAPH_CONFIG)"
    )


def attempts(server: Server) -> list[tuple[str, int, int]]:
    with psycopg.connect(server.environment()["DATABASE_URL"]) as conn:
        return conn.execute("SELECT status, attempt, losses FROM runs").fetchall()


def _given_servers() -> dict[str, str]:
    """The servers of the tests: a start that fails late need not start its own."""
    return {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}


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
            timeout=30,
        )
    except httpx.HTTPError:
        return False
    return bool(answer.status_code == 200 and "messages" in answer.json())
