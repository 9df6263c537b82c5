"""Executes a run: claim it, drive its graph, publish events, record how it ended.

Nothing here depends on HTTP or Celery. Every end of a run is covered: its graph
finishes or raises, the run is cancelled, times out, or is deleted, its worker stops or
loses it, or Postgres stays unavailable.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from langchain_core.runnables import RunnableConfig
from psycopg import DatabaseError
from redis.asyncio import Redis

from spool.assistants.graphs import registry
from spool.assistants.revisions import revisions
from spool.database.json import TooDeep
from spool.database.pool import Pool
from spool.database.retries import CONNECTION_FAULTS, retry_until_available
from spool.runs import lifecycle
from spool.runs.lifecycle import Claim, Claimant, Ended, Outcome
from spool.runs.models import Run
from spool.runs.record import Record
from spool.runs.streaming.attendance import wait_until_gone
from spool.runs.streaming.events import (
    INPUT_ANSWERED,
    METADATA,
    SUBSCRIBERS_ONLY,
    generation,
)
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.writer import EventWriter
from spool.runs.worker.drive import Attempt, Drive
from spool.runs.worker.ends import final_values_of, last_events_of, numbered
from spool.runs.worker.execution import CANCEL_TIMEOUT_SECS, HAND_BACK, Execution
from spool.runs.worker.failures import described
from spool.runs.worker.fence import fence_of, store_permit_of
from spool.runs.worker.flusher import Flusher
from spool.runs.worker.graph_builds import BuildTimeouts, NotBuilt, is_cancelled
from spool.runs.worker.held_runs import HeldRuns
from spool.runs.worker.inputs import (
    answered_interrupts,
    graph_config,
    kept_with_checkpoints,
)
from spool.runs.worker.reports import (
    begin_log,
    end_trace,
    log_end,
    log_start,
    traced,
)
from spool.store.backend import PostgresStore
from spool.telemetry import traces
from spool.threads.checkpoints import (
    CheckpointsUnavailable,
    LostRun,
    RunSaver,
    has_checkpoint_of,
    undo_held_run,
)
from spool.usage.meter import meter
from spool.web import inside

T = TypeVar("T")

logger = logging.getLogger(__name__)

# How long publishing events, or a cancellation, may wait for Postgres.
HELD_TIMEOUT_SECS = 1.0
TOOK_TOO_LONG = {"error": "TimeoutError", "message": ""}


@dataclass
class Executor:
    """Executes runs on one event loop, in the name of one worker."""

    pool: Pool
    redis: Redis
    worker_id: Callable[[], UUID]
    # Whether the worker's lease is so recent that its runs can't have been taken.
    has_lease: Callable[[], bool] = lambda: True
    # The context of a request by which a run waits for another run.
    waiting: Callable[[UUID], AbstractContextManager[None]] = lambda _: nullcontext()
    # Whether the worker may take more runs.
    may_claim: Callable[[], bool] = lambda: True
    # Whether limits may hold back runs until others have ended.
    has_limits: Callable[[], bool] = lambda: False
    flusher: Flusher = field(init=False)
    _script_calls: ScriptCalls = field(init=False)
    held_runs: HeldRuns = field(default_factory=HeldRuns)
    _builds: BuildTimeouts = field(default_factory=BuildTimeouts)

    def __post_init__(self) -> None:
        self.flusher = Flusher(self.pool, meter)
        self._script_calls = ScriptCalls(self.redis)

    def stop(self, run_id: UUID, reason: str) -> None:
        """Stop a run if it is executed here, from any thread."""
        if reason == Run.OVER_BUDGET:
            self.flusher.refuse_models(run_id)
        if self.held_runs.stop(run_id, reason):
            self._builds.shorten(run_id, _build_timeout(reason))

    def stop_all(self, reason: str) -> None:
        for run_id in self.held_runs:
            self.stop(run_id, reason)

    async def execute_all(
        self,
        hint: UUID | None = None,
        announce: Callable[[Ended, UUID | None], None] = lambda ended, taken: None,
    ) -> None:
        """Execute the next run of the queue, and then others, until there are none.

        `hint` is a run that may not be in the queue yet. `announce` is called with the
        end of each run, and with the run that is executed next; it must not block.
        """
        held = await self._claim_next(hint)
        while held is not None:
            # A separate task, since graphs and logs keep data in its context.
            run = asyncio.create_task(self._execute_held(held, chains=True))
            ended = await run
            held = ended.claim if ended else None
            # The statement that ended the run may not have seen a run that was created
            # meanwhile. The claim of that run may not have seen the end, so that the
            # limit refused it. Claim again.
            has_asked = ended and ended.has_asked and not self.has_limits()
            if held is None and not has_asked:
                held = await self._claim_next(ended.next_run_id if ended else None)
            if ended:
                announce(ended, held.id if held else None)

    async def execute(self, run_id: UUID) -> Ended | None:
        """Execute this run to its end. None: it was not claimed here, or was lost."""
        held = None
        self.held_runs.add(run_id)
        try:
            held = await self._claim(run_id)
        finally:
            if held is None:
                self.held_runs.release(run_id)
        return await self._execute_held(held) if held else None

    async def _claim_next(self, hint: UUID | None) -> Claim | None:
        if not self.may_claim():
            return None
        with self.held_runs.claiming() as claimed:
            return claimed(await self._claim(None, hint))

    async def _claim(
        self, run_id: UUID | None, hint: UUID | None = None
    ) -> Claim | None:
        return await lifecycle.claim(
            self.pool, run_id, self.worker_id(), hint=hint, revisions=revisions()
        )

    async def _execute_held(self, held: Claim, *, chains: bool = False) -> Ended | None:
        """Execute a claimed run to its end. `chains`: claim the next one with its end.

        Returns None if the worker has lost the run.
        """
        try:
            begin_log(held)
            if chains and not self.may_claim():
                return await self._hand_over(held)
            inside.act(self._origin(held))
            recorder = self.flusher.record(held)
            attempt = Attempt(held, self._writer(held), recorder, chains)
            try:
                with traced(held):
                    return await self._execute(attempt)
            finally:
                self.flusher.release(recorder)
        finally:
            self.held_runs.release(held.id)

    def _origin(self, held: Claim) -> inside.OfRun:
        """On whose behalf the run's graph calls the API."""
        return inside.OfRun(
            held.id,
            held.thread_id,
            held.user,
            held.api_key_id,
            partial(self.waiting, held.id),
        )

    async def _hand_over(self, held: Claim) -> Ended:
        """Hand back a run that was claimed just before the worker was stopped."""
        await retry_until_available(lambda: lifecycle.hand_back(self.pool, held))
        return Ended(next_run_id=held.id, has_asked=True)

    def _writer(self, held: Claim) -> EventWriter:
        return EventWriter(
            self._script_calls,
            thread_id=held.thread_id,
            run_id=held.id,
            attempt=held.attempt,
            generation=generation(held.thread_created_at),
            graph_id=held.graph_id,
            used_seq=held.used_seq,
            reply_to=held.kwargs.reply_to,
            is_held=partial(self._is_held, held, self.worker_id()),
        )

    async def _begin(self, attempt: Attempt) -> None:
        held = attempt.held
        first: list[tuple[str, Any]]
        first = [(METADATA, {"run_id": held.id, "attempt": held.attempt})]
        if answered := answered_interrupts(held.kwargs):
            name = f"{SUBSCRIBERS_ONLY}{INPUT_ANSWERED}"
            first.append((name, {"interrupt_ids": answered}))
        await attempt.writer.begin(*first)
        log_start(held)

    async def _execute(self, attempt: Attempt) -> Ended | None:
        held, writer = attempt.held, attempt.writer
        await self._begin(attempt)
        with suppress(LostRun):
            outcome = await self._outcome(attempt)
            if outcome is None:
                await writer.settle()
                return await self._hand_back(attempt)
            await writer.hold()
            outcome = numbered(held, outcome, writer)
            outcome, ended = await self._end(attempt, outcome)
            if ended is None and outcome.status:
                undone = numbered(held, await self._undone(attempt), writer)
                outcome, ended = await self._end(attempt, undone)
            if ended:
                await self._publish_end(attempt, outcome)
                end_trace(attempt.recorder, outcome)
                log_end(held, attempt.recorder, outcome.status or "rolled back")
                return ended
        traces.annotate({}, "LostRun: another worker has the run, or it was deleted")
        logger.warning("run %s: lost in attempt %s", held.id, held.attempt)
        await writer.drop()
        if await retry_until_available(lambda: lifecycle.is_gone(self.pool, held.id)):
            # Remove events that were published after the run was deleted.
            await writer.remove()
        return None

    async def _publish_end(self, attempt: Attempt, outcome: Outcome) -> None:
        try:
            last = last_events_of(attempt.held, outcome)
            final = final_values_of(attempt.held, outcome)
            await attempt.writer.close(*last, if_lost=final)
        except Exception:  # The next run is claimed already, and must be executed.
            logger.exception("run %s: its end was not published", attempt.held.id)

    async def _hand_back(self, attempt: Attempt) -> Ended:
        """Release the run: another worker resumes it from what its graph has saved."""
        held = attempt.held
        with suppress(CheckpointsUnavailable, DatabaseError):
            if attempt.saver:
                await attempt.saver.flush()
        await self._write(attempt, partial(lifecycle.hand_back, self.pool, held))
        log_end(held, attempt.recorder, "handed back")
        return Ended(next_run_id=held.id)

    async def _is_held(self, held: Claim, claimed_as: UUID) -> bool:
        """Whether this worker still holds a run. Queries Postgres only if in doubt."""
        if self.has_lease() and self.worker_id() == claimed_as:
            return True
        try:
            async with asyncio.timeout(HELD_TIMEOUT_SECS):
                return await lifecycle.is_held(self.pool, held)
        except (*CONNECTION_FAULTS, TimeoutError):
            return True  # Redis refuses events of an attempt if a later one has begun.

    async def _end(
        self, attempt: Attempt, outcome: Outcome
    ) -> tuple[Outcome, Ended | None]:
        """End a run with this outcome, or with an error if it can't be stored."""
        try:
            return outcome, await self._write_end(attempt, outcome)
        except (DatabaseError, TooDeep) as exc:
            logger.exception("run %s: could not store its state", attempt.held.id)
            failed = await attempt.failed(exc)
            failed = replace(failed, event_seq=outcome.event_seq)
            return failed, await self._write_end(attempt, failed)

    async def _write_end(self, attempt: Attempt, outcome: Outcome) -> Ended | None:
        """Store the end with the last saves, and claim the next run at once."""
        claimant = None
        if attempt.chains and self.may_claim():
            claimant = Claimant(self.worker_id(), revisions())
        end = partial(
            lifecycle.end,
            self.pool,
            attempt.held,
            outcome,
            saves=attempt.last_saves,
            claimant=claimant,
        )
        with self.held_runs.claiming() as claimed:
            ended = await self._write(attempt, end)
            if ended:
                claimed(ended.claim)
            return ended

    async def _write(
        self, attempt: Attempt, move: Callable[[Record], Awaitable[T]]
    ) -> T:
        """Make a move that ends the attempt, which also writes the attempt's record."""
        written = self.flusher.last(attempt.recorder)
        answer = await retry_until_available(partial(move, written))
        if answer:
            self.flusher.written(attempt.recorder, written)
        return answer

    async def _undone(self, attempt: Attempt) -> Outcome:
        """Undo a run whose end was not stored. Raises `LostRun`.

        Its thread's row still shows the state before the run.
        """
        await self._undo(attempt)
        return Outcome(None, settles=False)

    async def _undo(self, attempt: Attempt) -> None:
        """Undo what the run saved. Raises `LostRun`."""
        held = attempt.held
        attempt.last_saves = None
        if attempt.saver:
            await attempt.saver.discard()
        await retry_until_available(
            lambda: undo_held_run(self.pool, held.thread_id, fence_of(held))
        )

    async def _outcome(self, attempt: Attempt) -> Outcome | None:
        """Execute the graph. Returns how the run ended; None to hand it back."""
        held = attempt.held
        attempt.recorder.begin()
        config = graph_config(held)
        if not held.is_temporary:
            attempt.saver = self._saver(held, config)
        store = PostgresStore(self.pool, held.owner, store_permit_of(held))
        opened = registry().open(
            held.graph_id,
            config,
            context=held.kwargs.context,
            checkpointer=attempt.saver,
            store=store,
        )
        try:
            async with AsyncExitStack() as stack:
                graph = await self._builds.wait(
                    held.id,
                    stack.enter_async_context(opened),
                    timeout=_build_timeout(self._asked_of(held)),
                )
                drive = Drive(graph, config, attempt)
                attempt.drive = drive
                return drive.with_output(await self._supervise(drive))
        except CheckpointsUnavailable as exc:
            logger.warning("run %s: handed back: %s", held.id, exc)
            return None
        except LostRun:
            raise
        except NotBuilt:
            return await self._outcome_without_graph(attempt)
        except (Exception, SystemExit, asyncio.CancelledError) as exc:
            if is_cancelled():  # From outside, not by the graph's own code.
                raise
            # The graph could not be built: its factory is user code, too.
            logger.exception("run %s: graph %s failed", held.id, held.graph_id)
            attempt.recorder.fail(exc)
            return Outcome(Run.Status.ERROR, error=described(exc))

    def _saver(self, held: Claim, config: RunnableConfig) -> RunSaver:
        return RunSaver(
            self.pool,
            fence_of(held),
            kept_with_checkpoints(config),
            durability=held.kwargs.durability,
            new_thread_id=None if held.has_checkpoints else held.thread_id,
        )

    def _asked_of(self, held: Claim) -> str | None:
        return self.held_runs.asked(held.id) or held.cancel_action

    async def _outcome_without_graph(self, attempt: Attempt) -> Outcome | None:
        """How a run ends if its graph was not built in time. None to hand it back."""
        action = self._asked_of(attempt.held)
        if action == HAND_BACK:
            return None
        if action == Run.CancelAction.ROLLBACK:
            return await self._undone(attempt)
        if action == Run.OVER_BUDGET:
            return Outcome(Run.Status.ERROR, dict(Run.BUDGET_ERROR), settles=False)
        if action:
            return Outcome(Run.Status.INTERRUPTED, settles=False)
        return Outcome(Run.Status.TIMEOUT, TOOK_TOO_LONG)

    async def _supervise(self, drive: Drive) -> Outcome | None:
        held = drive.held
        resumes = held.attempt > 1 and not held.is_temporary and held.has_checkpoints
        if resumes:
            resumes = await retry_until_available(
                lambda: has_checkpoint_of(self.pool, held.thread_id, held.id)
            )
        task = asyncio.create_task(drive.run(resumes), name=f"run {held.id}")
        execution = Execution(held, task, asyncio.get_running_loop())
        self.held_runs.executions[held.id] = execution
        for action in (held.cancel_action, self.held_runs.asked(held.id)):
            if action:  # From an earlier attempt, or from while the graph was built.
                task.cancel()  # Before the graph begins.
                execution.stop(action)
        try:
            async with self._ending_with_client(execution):
                is_in_time = await execution.comes_to_an_end()
        finally:
            del self.held_runs.executions[held.id]
            drive.close()
        if execution.stopped:
            return await self._stopped(drive, execution.stopped)
        if not is_in_time:
            return Outcome(Run.Status.TIMEOUT, TOOK_TOO_LONG, await drive.state())
        return await drive.finished(task)

    async def _stopped(self, drive: Drive, reason: str) -> Outcome | None:
        """How a stopped run ends. None to hand it back."""
        if reason == HAND_BACK:
            return None
        if reason == Run.CancelAction.ROLLBACK:
            await self._undo(drive.attempt)
            return Outcome(None, state=await drive.state())
        state = await drive.state()
        if reason == Run.OVER_BUDGET:
            return Outcome(Run.Status.ERROR, dict(Run.BUDGET_ERROR), state)
        return Outcome(Run.Status.INTERRUPTED, state=state)

    @asynccontextmanager
    async def _ending_with_client(self, execution: Execution) -> AsyncIterator[None]:
        """Cancel the run if its client is gone, even if its web process died too."""
        if not execution.held.kwargs.ends_with_client:
            yield
            return
        leaving = asyncio.create_task(self._end_with_client(execution))
        try:
            yield
        finally:
            leaving.cancel()

    async def _end_with_client(self, execution: Execution) -> None:
        run_id = execution.held.id
        await wait_until_gone(self.redis, run_id)
        logger.warning("run %s: cancelled, since its client has disconnected", run_id)
        with suppress(DatabaseError, TimeoutError, *CONNECTION_FAULTS):
            async with asyncio.timeout(HELD_TIMEOUT_SECS):
                await lifecycle.note_reason_of(
                    self.pool, execution.held, Run.CLIENT_IS_GONE
                )
        execution.stop(Run.CancelAction.INTERRUPT)


def _build_timeout(action: str | None) -> float:
    """The timeout for building a run's graph, in seconds.

    `action` is how the run must be stopped; None if it need not be.
    """
    if action is None:
        return float(settings.BG_JOB_TIMEOUT_SECS or math.inf)
    # The outcome may need the thread's state, which only its graph can read.
    return 0.0 if action == HAND_BACK else CANCEL_TIMEOUT_SECS
