"""One worker process: its lease, its loop, and the runs that it executes.

The heartbeat is a plain thread with its own connection, so that neither a graph that
blocks the loop nor a busy pool can make a healthy worker look dead.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec
from uuid import UUID

import psycopg
from django.conf import settings
from redis.exceptions import RedisError

from spool.database.ids import uuid7
from spool.database.loop import Loop, conninfo
from spool.runs import lifecycle
from spool.runs.lifecycle import Ended
from spool.runs.presence import Presence
from spool.runs.streaming import events
from spool.runs.worker import hooks
from spool.runs.worker.execution import HAND_BACK
from spool.runs.worker.executor import Executor
from spool.runs.worker.slots import Slots
from spool.runs.worker.watchdog import Watchdog

P = ParamSpec("P")
Announce = Callable[[Ended, UUID | None], object]

logger = logging.getLogger(__name__)

# Pause after a failed heartbeat, in seconds.
RETRY_SECS = 0.5
# How long graphs get to stop after the grace period, in seconds.
HAND_BACK_TIMEOUT_SECS = 5.0

REGISTER = """
INSERT INTO workers (id, hostname, pid, capacity, started_at, heartbeat_at)
VALUES (%(id)s, %(hostname)s, %(pid)s, %(capacity)s, now(), now())
"""
# Also returns whether other workers have free slots, whether any owner has its own
# limit, and which runs this worker holds: some may have to be stopped (if the signal
# was lost), and some may be unknown here (if the response to a claim was lost).
BEAT = """
WITH alive AS (
    UPDATE workers SET heartbeat_at = now(), memory_bytes = %(memory)s
    WHERE id = %(id)s AND expired_at IS NULL RETURNING id
), others AS (
    SELECT id, capacity FROM workers
    WHERE id <> %(id)s AND expired_at IS NULL
        AND heartbeat_at > now() - make_interval(secs => %(lease)s)
)
SELECT
    coalesce((SELECT sum(capacity) FROM others), 0) > (
        SELECT count(*) FROM runs JOIN others ON others.id = runs.worker_id
        WHERE runs.status = 'running'
    ) AS others_have_room,
    EXISTS (SELECT FROM run_limits) AS owners_have_limits,
    runs.id, runs.attempt, runs.cancel_action,
    runs.updated_at < now() - make_interval(secs => %(lease)s) AS is_settled
FROM alive LEFT JOIN runs ON runs.worker_id = alive.id AND runs.status = 'running'
"""
LEAVE = "UPDATE workers SET expired_at = now() WHERE id = %(id)s"


class Contact:
    """For how long this process has reached Postgres without interruption.

    While Postgres is unavailable, no worker can renew its lease. Right after such an
    outage a process can't tell which workers are gone, and which are about to renew
    their lease.
    """

    def __init__(self) -> None:
        self._since = self._last = -math.inf

    def made(self) -> None:
        now = time.monotonic()
        if now - self._last > self._break_secs:
            self._since = now
        self._last = now

    def is_recent(self) -> bool:
        """Whether the last contact is so recent that the lease can't have expired."""
        return bool(time.monotonic() - self._last < settings.WORKER_LEASE_SECS)

    @property
    def is_lasting(self) -> bool:
        now = time.monotonic()
        is_unbroken = now - self._last <= self._break_secs
        return is_unbroken and now - self._since >= 2 * settings.WORKER_HEARTBEAT_SECS

    @property
    def _break_secs(self) -> float:
        beat: float = settings.WORKER_HEARTBEAT_SECS
        return max(1.5 * beat, settings.WORKER_LEASE_SECS / 2)


class Worker:
    """This process as a worker. Celery's threads call its methods."""

    def __init__(self) -> None:
        self.id: UUID = uuid7()
        self.capacity = settings.N_JOBS_PER_WORKER
        # As of the last heartbeat.
        self.others_have_room = False
        self._owners_have_limits = False
        self.contact = Contact()
        self._presence = Presence()
        self._slots = Slots(self.capacity)
        # How many chains of runs are executed: each may be about to claim a run.
        self._chains = 0
        self._stopping = threading.Event()
        self._has_left = threading.Event()
        self._local = threading.local()
        self._executors: list[Executor] = []
        self._registered = threading.Event()
        self._shared: tuple[Loop, Executor] | None = None
        self._lock = threading.Lock()
        self._announcer = ThreadPoolExecutor(1, thread_name_prefix="announcer")
        self._threads = [
            threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True),
            threading.Thread(
                target=self._listen_for_stop_requests, name="signals", daemon=True
            ),
        ]

    # --- Life of the process ------------------------------------------------------
    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._registered.wait(timeout=30)

    def stop(self, grace: float) -> None:
        """Claim no more runs, give running ones `grace` seconds, hand back the rest."""
        self._stopping.set()
        deadline = time.monotonic() + grace
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(0.05)
        # Repeated, since a run whose claim has not returned yet can't be stopped.
        while self._is_busy() and time.monotonic() < deadline + HAND_BACK_TIMEOUT_SECS:
            for executor in self._executors:
                executor.stop_all(HAND_BACK)
            time.sleep(0.05)

    def leave(self) -> None:
        """Sign off, so that other workers need not wait for the lease to expire."""
        self._has_left.set()  # First, so that the heartbeat does not sign on again.
        self._presence.withdraw()
        with suppress(psycopg.Error), psycopg.connect(conninfo()) as conn:
            conn.execute(LEAVE, {"id": self.id})

    # --- Runs -----------------------------------------------------------------------
    def take_slot(self, run_id: UUID) -> bool:
        if self._stopping.is_set() or not self._slots.take(run_id):
            return False
        with self._lock:
            self._chains += 1
        return True

    def free_slot(self) -> UUID | None:
        """Free a slot, or return a run to use it for. See `Slots.free`."""
        missed = self._slots.free()
        if missed is None:
            with self._lock:
                self._chains -= 1
        return missed

    @contextmanager
    def waiting(self, run_id: UUID) -> Iterator[None]:
        """Lend the slot of a run while it waits for another one. See `Slots.lend`."""
        if self._slots.lend(run_id):
            hooks.wake(run_id)
        try:
            yield
        finally:
            self._slots.reclaim(run_id)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def execute_all(self, hint: UUID, announce: Announce) -> bool:
        """Execute runs of the queue in a slot, and block until there are none.

        Returns False if no slot is free. `announce` is called in a separate thread; see
        `Executor.execute_all`.
        """
        loop, executor = self._loop_and_executor()
        if is_taken := self.take_slot(hint):
            loop.run(self._execute_chain(executor, hint, announce))
        return is_taken

    def execute_soon(self, hint: UUID, announce: Announce) -> bool:
        """As `execute_all`, without blocking."""
        loop, executor = self._loop_and_executor()
        if is_taken := self.take_slot(hint):
            loop.start(self._execute_chain(executor, hint, announce))
        return is_taken

    async def _execute_chain(
        self, executor: Executor, hint: UUID, announce: Announce
    ) -> None:
        wanted: UUID | None = hint
        while wanted:
            try:
                await executor.execute_all(wanted, self._announcing(announce))
            except Exception:
                # If a run was claimed, the heartbeat finds that it is not executed.
                logger.exception("run %s: could not be executed", wanted)
            if self.is_stopping:  # The run may not have been claimed by any worker.
                self.later(hooks.wake, wanted)
            wanted = self.free_slot()

    def _announcing(self, announce: Announce) -> Callable[[Ended, UUID | None], None]:
        def announce_later(ended: Ended, taken: UUID | None) -> None:
            if ended.has_news(taken):
                self.later(announce, ended, taken)

        return announce_later

    def later(
        self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call a function on the thread for sending messages, which may block."""
        self._announcer.submit(function, *args, **kwargs)

    def _loop_and_executor(self) -> tuple[Loop, Executor]:
        """The process's loop, or the thread's own if graphs are isolated."""
        if settings.BG_JOB_ISOLATED_LOOPS:
            if not hasattr(self._local, "own"):
                self._local.own = self._new_loop(threading.current_thread().name, 2)
            own: tuple[Loop, Executor] = self._local.own
            return own
        with self._lock:
            if self._shared is None:
                size = settings.CHECKPOINT_POOL_SIZE
                self._shared = self._new_loop("runs", size)
            return self._shared

    def _new_loop(self, name: str, pool_size: int) -> tuple[Loop, Executor]:
        loop = Loop(name=f"spool-{name}", pool_size=pool_size)
        executor = loop.run(self._new_executor(loop))
        self._executors.append(executor)
        if not settings.BG_JOB_ISOLATED_LOOPS:
            Watchdog(loop.asyncio_loop).start()
        return loop, executor

    async def _new_executor(self, loop: Loop) -> Executor:
        redis = events.new_async_redis()
        return Executor(
            loop.pool,
            redis,
            worker_id=lambda: self.id,
            has_lease=self.contact.is_recent,
            waiting=self.waiting,
            may_claim=lambda: not self.is_stopping,
            has_limits=lambda: self.has_limits,
        )

    @property
    def has_limits(self) -> bool:
        """Whether runs may wait because of a limit of running runs."""
        of_all = settings.MAX_RUNNING_PER_OWNER or settings.MAX_RUNNING_PER_GRAPH
        return bool(of_all or self._owners_have_limits)

    @property
    def run_count(self) -> int:
        """How many runs this worker holds."""
        return sum(len(executor.held_runs) for executor in list(self._executors))

    # --- The lease ------------------------------------------------------------------
    def _keep_alive(self) -> None:
        while not self._has_left.is_set():
            try:
                with self._connect() as conn:
                    self._register(conn)
                    while not self._has_left.is_set():
                        self._beat(conn)
                        self.contact.made()
                        time.sleep(settings.WORKER_HEARTBEAT_SECS)
            except psycopg.Error as exc:
                logger.warning("heartbeat failed, retrying: %s", exc)
                time.sleep(RETRY_SECS)

    def _connect(self) -> psycopg.Connection:
        conn = psycopg.connect(conninfo(), autocommit=True)
        if not settings.DATABASE_PREPARED_STATEMENTS:
            conn.prepare_threshold = None
        return conn

    def _register(self, conn: psycopg.Connection) -> None:
        if self._registered.is_set():
            return
        conn.execute(
            REGISTER,
            {
                "id": self.id,
                "hostname": socket.gethostname(),
                "pid": os.getpid(),
                "capacity": self.capacity,
            },
        )
        self._presence.announce(self.id)
        self._registered.set()

    def _beat(self, conn: psycopg.Connection) -> None:
        lease = settings.WORKER_LEASE_SECS
        params = {"id": self.id, "lease": lease, "memory": _memory_bytes()}
        rows = conn.execute(BEAT, params).fetchall()
        if not rows and not self._has_left.is_set():
            self._start_anew(conn)
        for *of_all, run_id, attempt, cancel_action, is_settled in rows:
            self.others_have_room, self._owners_have_limits = of_all
            if run_id and cancel_action:
                self._stop_run(run_id, cancel_action)
            if run_id and is_settled and not self._holds(run_id):
                held = {"run_id": run_id, "attempt": attempt}
                if conn.execute(lifecycle.LET_GO, held).rowcount:
                    logger.error(
                        "run %s belongs to this worker, but is not being executed",
                        run_id,
                    )

    def _start_anew(self, conn: psycopg.Connection) -> None:
        logger.error("worker %s was considered dead; registering as a new one", self.id)
        for executor in self._executors:
            executor.stop_all(HAND_BACK)
        self.id = uuid7()
        self._registered.clear()
        self._register(conn)

    def _is_busy(self) -> bool:
        return self._chains > 0 or any(e.held_runs for e in self._executors)

    def _holds(self, run_id: UUID) -> bool:
        return any(run_id in executor.held_runs for executor in self._executors)

    # --- Signals --------------------------------------------------------------------
    def _listen_for_stop_requests(self) -> None:
        while True:
            try:
                for run_id, action in events.stop_signals():
                    self._stop_run(run_id, action)
            except (RedisError, OSError) as exc:
                logger.warning("signals: %s; subscribing again", exc)
                time.sleep(RETRY_SECS)

    def _stop_run(self, run_id: UUID, action: str) -> None:
        for executor in self._executors:
            executor.stop(run_id, action)


def _memory_bytes() -> int | None:
    """The resident memory of this process, in bytes; None if not on Linux."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


_worker: Worker | None = None
_making = threading.Lock()


def existing() -> Worker | None:
    """This process's worker, if it has one."""
    return _worker


def current() -> Worker:
    """This process's worker, created and registered on first use."""
    global _worker
    with _making:
        if _worker is None:
            _worker = Worker()
            _worker.start()
    return _worker
