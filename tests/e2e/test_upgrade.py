"""An upgrade from the previous version, while runs stream, wait, stop and crons fire.

The order of the steps is that of docs/upgrade.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from spool.embedded import processes
from spool.embedded.home import Home
from spool.embedded.postgres import Postgres
from spool.embedded.valkey import Valkey
from spool.tests.live import OURS, ROOT, WAIT_SECS, free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.needs("git")]

BEFORE = "55191d2"
AGENT = """
import asyncio
from operator import add
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    log: Annotated[list[str], add]


def step(name):
    async def run(state: State) -> State:
        await asyncio.sleep(0.4)
        return {"log": [name]}
    return run


def ask(state: State) -> State:
    return {"log": [interrupt("go on?")]}


def chain(*steps):
    builder = StateGraph(State)
    for (name, node), before in zip(steps, [START, *(n for n, _ in steps)]):
        builder.add_node(name, node).add_edge(before, name)
    return builder.compile()


steps = chain(*((f"step{n}", step(f"step{n}")) for n in range(1, 7)))
asking = chain(("first", step("first")), ("ask", ask), ("last", step("last")))
"""
STEPS = [f"step{number}" for number in range(1, 7)]
# Fires every other second.
SCHEDULE = "*/2 * * * * *"
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


class Installation:
    """One Postgres, one Redis, and the processes of two versions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old = folder / "before"
        self.port = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._home = Home(folder / "home")
        self.database = self._start_server(Postgres(self._home.path))
        redis = self._start_server(Valkey(self._home.path))
        left_out = {*OURS, "PYTHONPATH", "DJANGO_SETTINGS_MODULE"}
        inherited = {key: v for key, v in os.environ.items() if key not in left_out}
        self._given = {
            **inherited,
            "DATABASE_URL": self.database,
            "REDIS_URL": redis,
            "SPOOL_HOME": str(self._home.path),
            "LANGGRAPH_CONFIG": str(folder / "langgraph.json"),
            "DJANGO_SECRET_KEY": "of both versions",
            "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "20",
            "N_JOBS_PER_WORKER": "4",
        }

    def _start_server(self, server: Postgres | Valkey) -> str:
        with self._home.log(server.name) as log:
            self._processes[server.name] = process = server.start(log)
        server.wait_ready(process)
        return server.url

    def run(self, checkout: Path, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            cwd=checkout,
            env=self._given,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, name: str, checkout: Path, *arguments: str) -> None:
        with self._home.log(name) as log:
            self._processes[name] = processes.spawn(
                [sys.executable, "-W", "ignore", "-m", *arguments],
                output=log,
                death_signal=signal.SIGKILL,
                env=self._given,
                cwd=checkout,
            )

    def start_web(self, name: str, checkout: Path, *arguments: str) -> None:
        """Start a web process that gets all new requests, as behind a load balancer."""
        port = free_port()
        self.start(name, checkout, *arguments, "--port", str(port))
        wait_until(lambda: self._answers(port))
        self.port = port

    def start_worker(self, name: str, checkout: Path, *arguments: str) -> None:
        self.start(name, checkout, *arguments)
        pid = self._processes[name].pid
        alive = "SELECT 1 FROM workers WHERE pid = %s AND expired_at IS NULL"
        wait_until(lambda: self.rows(alive, pid))

    def stop(self, name: str) -> None:
        process = self._processes[name]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)

    def end(self) -> None:
        for name, process in reversed(self._processes.items()):
            is_server = name in ("postgres", "valkey")
            processes.stop(process, signal.SIGINT if is_server else signal.SIGKILL, 20)
        self._home.close()

    def log(self, name: str) -> str:
        return (self._home.logs / f"{name}.log").read_text(errors="replace")

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as conn:
            return list(conn.execute(query.encode(), params).fetchall())

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database) as conn:
            conn.execute(statement.encode())

    def _answers(self, port: int) -> bool:
        try:
            return (
                httpx.get(f"http://127.0.0.1:{port}/ok", timeout=WAIT_SECS).status_code
                == 200
            )
        except httpx.HTTPError:
            return False


class Balancer(httpx.HTTPTransport):
    """Sends each request to the web process that gets new ones.

    If a connection is refused, the request is sent to the next process.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self._installation = installation

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        while True:
            port = self._installation.port
            request.url = request.url.copy_with(port=port)
            try:
                return super().handle_request(request)
            except httpx.ConnectError:
                if port == self._installation.port:
                    raise


class Load:
    """Clients in threads, which send requests until they are stopped."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.accepted: list[str] = []
        self.seen: list[list[str]] = []
        self.failures: list[str] = []
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, client: Callable[[httpx.Client], None], many: int) -> None:
        for _ in range(many):
            # A test that fails does not wait for these threads.
            thread = threading.Thread(target=self._go_on, args=[client], daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(timeout=90)

    def _go_on(self, client: Callable[[httpx.Client], None]) -> None:
        while not self._done.is_set():
            with client_of(self.installation) as http:
                try:
                    client(http)
                except (httpx.HTTPError, LookupError, ValueError) as exc:
                    self.failures.append(repr(exc))

    # --- What clients do ----------------------------------------------------------
    def stream(self, http: httpx.Client) -> None:
        """Follow a run to its end. Reconnect with the last id if the stream is cut."""
        path = f"/threads/{new_thread(http)}/runs"
        body = {
            "assistant_id": "steps",
            "input": {"log": []},
            "stream_mode": ["updates"],
            "stream_resumable": True,
            "on_disconnect": "continue",
        }
        viewer = Viewer()
        with http.stream("POST", f"{path}/stream", json=body) as answer:
            answer.raise_for_status()
            run_path = answer.headers["content-location"]
            self.accepted.append(run_path.rpartition("/")[2])
            viewer.read(answer)
        while not viewer.has_ended:
            again = {"Last-Event-ID": viewer.last_id}
            with http.stream("GET", f"{run_path}/stream", headers=again) as answer:
                viewer.read(answer)
        self.seen.append(viewer.steps)

    def background(self, http: httpx.Client) -> None:
        """Create more runs than there are slots, so that most wait."""
        path = f"/threads/{new_thread(http)}/runs"
        run = created(http, path, assistant_id="steps", input={"log": []})
        self.accepted.append(run["run_id"])
        wait_until(lambda: has_ended(http, path, run), 90, pause=1)


class Viewer:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.last_id = ""
        self.has_ended = False

    def read(self, answer: httpx.Response) -> None:
        event = ""
        try:
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                    self.has_ended |= value == "end"
                elif name == "id":
                    self.last_id = value
                elif name == "data" and event == "updates":
                    self.steps.extend(json.loads(value))
            # The run had ended before: such a stream has no event `end`.
            self.has_ended = True
        except httpx.HTTPError:
            return  # Cut: the server stops.


def created(http: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = http.post(path, json=body)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def new_thread(http: httpx.Client) -> str:
    return str(created(http, "/threads")["thread_id"])


def has_ended(http: httpx.Client, path: str, run: dict[str, Any]) -> bool:
    found = http.get(f"{path}/{run['run_id']}").json()
    return found["status"] not in ("pending", "running")


def has_commit() -> bool:
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{BEFORE}^{{commit}}"], cwd=ROOT, check=False
    )
    return found.returncode == 0


@pytest.fixture
def installation() -> Iterator[Installation]:
    if not has_commit():
        pytest.skip(f"the history has no {BEFORE}")
    # The name is short, since the paths of Unix sockets in it are limited.
    with tempfile.TemporaryDirectory(prefix="spool-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "before").mkdir()
        archive = subprocess.run(
            ["git", "archive", BEFORE], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(
            ["tar", "-x", "-C", str(folder / "before")],
            input=archive.stdout,
            check=True,
        )
        (folder / "agent.py").write_text(AGENT)
        graphs = {name: f"./agent.py:{name}" for name in ("steps", "asking")}
        (folder / "langgraph.json").write_text(json.dumps({"graphs": graphs}))
        installation = Installation(folder)
        yield installation
        installation.end()


def start_before(it: Installation) -> None:
    it.run(it.old, "manage.py", "prepare")
    it.start_worker(
        "old-worker",
        it.old,
        *("celery", "-A", "config", "-q", "worker", "-P", "threads", *QUIET),
        *("-n", "old@%h"),
    )
    it.start("old-beat", it.old, "celery", "-A", "config", "-q", "beat", "--pidfile=")
    it.start_web(
        "old-web",
        it.old,
        *("uvicorn", "config.asgi:application", "--log-level", "warning"),
        *("--http", "config.http_protocol:BoundedHead"),
        *("--timeout-graceful-shutdown", "2"),
    )


def upgrade(it: Installation) -> None:
    """Execute the steps of docs/upgrade.md."""
    it.run(ROOT, "-m", "spool", "prepare")
    it.start_worker("new-worker", ROOT, "spool", "worker", "-n", "new")
    it.start("new-beat", ROOT, "spool", "beat")
    it.stop("old-worker")
    it.stop("old-beat")
    it.start_web("new-web", ROOT, "spool", "web")
    it.stop("old-web")


def test_nothing_is_lost_doubled_or_failed(installation: Installation) -> None:
    it, load = installation, Load(installation)
    start_before(it)
    change_intervals(it)
    asking = begin(it, load)

    upgrade(it)
    go_on_for_a_while(it, load)
    load.end()
    resumed = end(it, asking)

    assert load.failures == []
    assert resumed["log"] == ["first", "yes", "last"]
    assert [steps for steps in load.seen if steps != STEPS] == []
    assert_runs_are_whole(it, load)
    assert_each_slot_fired_once(it)
    assert_intervals_are_kept(it)
    assert_logs_are_quiet(it)


def begin(it: Installation, load: Load) -> str:
    """Create the data before an upgrade. Return the path of the interrupted run."""
    with client_of(it) as http:
        asking = f"/threads/{new_thread(http)}/runs"
        asked = created(http, asking, assistant_id="asking", input={"log": []})
        wait_until(lambda: has_ended(http, asking, asked))
        cron = {"assistant_id": "steps", "schedule": SCHEDULE, "input": {"log": []}}
        created(http, "/runs/crons", **cron)
    load.begin(load.stream, 2)
    load.begin(load.background, 5)
    wait_until(lambda: len(load.accepted) > 15 and firings(it) > 2)
    return asking


def end(it: Installation, asking: str) -> dict[str, Any]:
    """Answer the interrupt, and wait for the end of all runs."""
    with client_of(it) as http:
        body = {"assistant_id": "asking", "command": {"resume": "yes"}}
        resumed = created(http, f"{asking}/wait", **body)
        (cron,) = http.post("/runs/crons/search", json={}).json()
        http.patch(f"/runs/crons/{cron['cron_id']}", json={"enabled": False})
    active = (
        "SELECT id FROM runs WHERE status IN ('pending', 'running') UNION ALL"
        # The firings' status as the last tick has recorded it.
        " SELECT id FROM cron_firings WHERE status IN ('pending', 'running')"
    )
    wait_until(lambda: not it.rows(active))
    return resumed


def client_of(it: Installation) -> httpx.Client:
    return httpx.Client(base_url="http://127.0.0.1", transport=Balancer(it), timeout=60)


def go_on_for_a_while(it: Installation, load: Load) -> None:
    accepted, fired = len(load.accepted), firings(it)
    wait_until(lambda: len(load.accepted) > accepted + 15)
    wait_until(lambda: firings(it) > fired + 3)


def assert_each_slot_fired_once(it: Installation) -> None:
    found = it.rows("SELECT slot, run_id, missed FROM cron_firings")
    slots, runs = {slot for slot, *_ in found}, {run for _, run, _ in found}
    assert len(slots) == len(runs) == len(found)
    seconds = (max(slots) - min(slots)).total_seconds()
    assert len(found) + sum(missed for *_, missed in found) == seconds / 2 + 1
    bad = "SELECT status FROM cron_firings WHERE status NOT IN ('success', '')"
    assert it.rows(bad) == []


def assert_logs_are_quiet(it: Installation) -> None:
    for age in ("old", "new"):
        for program in ("worker", "beat", "web"):
            log = it.log(f"{age}-{program}")
            assert "unregistered" not in log
            assert "the stream of events broke" not in log
            assert "the connection for events failed" not in log
            # The old web process logs a traceback when it cuts its streams.
            is_quiet = (age, program) == ("old", "web") or "Traceback" not in log
            assert is_quiet, log


def firings(it: Installation) -> int:
    return int(it.rows("SELECT count(*) FROM cron_firings")[0][0])


def assert_runs_are_whole(it: Installation, load: Load) -> None:
    found = it.rows("SELECT id, status, losses FROM runs WHERE id = ANY(%s)", ids(load))
    assert len(found) == len(set(load.accepted)) == len(load.accepted)
    assert [row for row in found if row[1:] != ("success", 0)] == []
    logs = it.rows(
        "SELECT threads.values->'log' FROM threads JOIN runs ON runs.thread_id = threads.id"
        " WHERE runs.id = ANY(%s)",
        ids(load),
    )
    assert [log for (log,) in logs if log != STEPS] == []


def ids(load: Load) -> list[UUID]:
    return [UUID(run_id) for run_id in load.accepted]


# --- Operators' rows -------------------------------------------------------------------
def change_intervals(it: Installation) -> None:
    it.execute(
        "INSERT INTO django_celery_beat_intervalschedule (every, period)"
        " VALUES (77, 'seconds')"
    )
    it.execute(
        "UPDATE django_celery_beat_periodictask SET name = 'mine', interval_id ="
        " (SELECT max(id) FROM django_celery_beat_intervalschedule)"
        " WHERE task = 'threads.tasks.sweep'"
    )
    it.execute(
        "UPDATE django_celery_beat_periodictask SET enabled = false"
        " WHERE task = 'store.tasks.sweep'"
    )


def assert_intervals_are_kept(it: Installation) -> None:
    found = it.rows(
        "SELECT task, name, every, enabled FROM django_celery_beat_periodictask t"
        " JOIN django_celery_beat_intervalschedule i ON i.id = t.interval_id"
    )
    tasks = [task for task, *_ in found]
    assert len(tasks) == len(set(tasks))
    assert ("threads.tasks.sweep", "mine", 77, True) in found
    assert ("store.tasks.sweep", "store: sweep", 300, False) in found
