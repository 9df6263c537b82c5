"""A test's own workers, their rows in Postgres, and the runs that they execute.

Each test sets the number of workers, and which of them fail. Leases are short, so that
recovery takes less time than in production.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from spool.tests.live import WAIT_SECS, Server, Worker, wait_until

LEASE_SECS = 2.0
GRACE_SECS = 3
ENVIRONMENT = {
    "WORKER_HEARTBEAT_SECS": "0.3",
    "WORKER_LEASE_SECS": str(LEASE_SECS),
    "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": str(GRACE_SECS),
    "STREAM_HEARTBEAT_SECS": "1",
}
STEPS = [f"step{number}" for number in range(1, 6)]
NUMBERS = count(1)


class Company:
    """The server, its workers, and what they do."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.url, timeout=WAIT_SECS)
        self.workers: list[Worker] = []
        self._database = server.environment()["DATABASE_URL"]

    def hire(self, how_many: int = 1, /, **environment: str) -> list[Worker]:
        """Start `how_many` more workers, and wait until they are ready."""
        hired = [
            Worker(self.server, f"hired-{next(NUMBERS)}", **environment)
            for _ in range(how_many)
        ]
        self.workers += hired
        for worker in hired:
            wait_until(lambda pid=worker.pid: self.is_alive(pid))  # type: ignore[misc]
        return hired

    def servers(self, name: str) -> list[psutil.Process]:
        return self.server.servers(name)

    def replace(self, **environment: str) -> None:
        """Kill all workers, and start another one."""
        for worker in self.workers:
            worker.kill()
        self.hire(**environment)

    def dismiss(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.http.close()

    def by_pid(self, pid: int) -> Worker:
        return next(worker for worker in self.workers if worker.pid == pid)

    # --- Rows in Postgres --------------------------------------------------------
    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._database) as conn:
            return list(conn.execute(query.encode(), params).fetchall())

    def is_alive(self, pid: int) -> bool:
        lives = "SELECT id FROM workers WHERE pid = %s AND expired_at IS NULL"
        return bool(self.rows(lives, pid))

    def expired(self) -> list[int]:
        pids = [worker.pid for worker in self.workers]
        dead = "SELECT pid FROM workers WHERE pid = ANY(%s) AND expired_at IS NOT NULL"
        return [pid for (pid,) in self.rows(dead, pids)]

    def attempts(self, run: Run) -> tuple[int, int]:
        """Attempts of a run, and how many of them were lost with their worker."""
        found = self.rows("SELECT attempt, losses FROM runs WHERE id = %s", run.id)
        attempt, losses = found[0]
        return attempt, losses

    # --- Runs ----------------------------------------------------------------------
    def run(self, graph: str, **body: Any) -> Run:
        thread = self.http.post("/threads", json={}).json()
        return self.run_on(thread["thread_id"], graph, **body)

    def run_on(self, thread_id: str, graph: str, **body: Any) -> Run:
        path = f"/threads/{thread_id}/runs"
        created = self.http.post(path, json={"assistant_id": graph, **body})
        created.raise_for_status()
        return Run(self.http, thread_id, created.json()["run_id"])

    def steps(self, file: Path, delay: float = 0) -> Run:
        return self.run("steps", input={"file": str(file), "delay": delay})


class Run:
    def __init__(self, http: httpx.Client, thread_id: str, run_id: str) -> None:
        self.id = run_id
        self.http = http
        self.thread_id = thread_id
        self.thread_path = f"/threads/{thread_id}"
        self.path = f"{self.thread_path}/runs/{run_id}"

    def status(self) -> str:
        return str(asked(self.http, self.path)["status"])

    def ended(self, seconds: float = WAIT_SECS) -> str:
        """Wait for the run's last status, and return it."""
        wait_until(lambda: self.status() not in ("pending", "running"), seconds)
        return self.status()

    def log(self) -> list[str]:
        return list(asked(self.http, self.thread_path)["values"]["log"])

    def saved_steps(self) -> list[int]:
        """The numbers of the supersteps whose checkpoints were saved."""
        body = {"limit": 100}
        states = self.http.post(f"{self.thread_path}/history", json=body).json()
        return [state["metadata"]["step"] for state in states]


def asked(http: httpx.Client, path: str) -> Any:
    """Send a GET with retries, as clients do while Postgres is unavailable."""
    deadline = time.monotonic() + WAIT_SECS
    while (answer := http.get(path)).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer.json()


def begun(file: Path) -> list[list[str]]:
    """The words of each line: the step that began, the process, and the attempt."""
    if not file.exists():
        return []
    return [line.split() for line in file.read_text().splitlines()]


def has_begun(file: Path, what: str) -> bool:
    return any(words[0] == what for words in begun(file))


def hold(file: Path, *steps: str) -> Callable[[], None]:
    """Hold the runs of this file in these steps. Return the function that ends this.

    Whatever a test does meanwhile happens in the middle of a run, on any machine.
    """
    gates = [Path(f"{file}.{step}") for step in steps]
    for gate in gates:
        gate.touch()

    def let_go() -> None:
        for gate in gates:
            gate.unlink(missing_ok=True)

    return let_go
