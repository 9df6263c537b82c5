"""One attempt of a run, and the execution of its graph in that attempt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import UnknownInterruptError
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from psycopg import DatabaseError

from spool.assistants.configurable import FORK_POINT, context_for
from spool.runs.lifecycle import Claim, Outcome
from spool.runs.models import Run
from spool.runs.streaming.modes import Translator, WireEvent, stream_graph
from spool.runs.streaming.writer import EventWriter
from spool.runs.worker import hooks
from spool.runs.worker.breakpoints import is_at_breakpoint
from spool.runs.worker.failures import described, refusal
from spool.runs.worker.inputs import graph_input
from spool.runs.worker.missing_nodes import NodeCheck, NodeNotFound, continues
from spool.runs.worker.recorder import Recorder
from spool.threads.checkpoints import CheckpointsUnavailable, LostRun, RunSaver
from spool.threads.models import Thread
from spool.threads.saves import Saves
from spool.threads.snapshots import hides_state, output_of, read_state
from spool.threads.state_form import cached_columns

# The log of runs has one name, whichever module writes to it.
logger = logging.getLogger("spool.runs.worker.executor")


@dataclass
class Attempt:
    """One attempt of a run, and the objects that are used in it."""

    held: Claim
    writer: EventWriter
    recorder: Recorder
    # Whether the statement that ends the run also claims the next one.
    chains: bool = False
    saver: RunSaver | None = None
    # Saves to be stored with the end.
    last_saves: Saves | None = None
    drive: Drive | None = None

    async def failed(self, exc: Exception) -> Outcome:
        """The outcome if storing the end of the run has failed with `exc`."""
        state = None
        saves, self.last_saves = self.last_saves, None
        if self.saver and self.drive and saves:
            # Find out whether the saves or the outcome could not be stored. If it was
            # the saves, the state is that of the saves before them.
            try:
                await self.saver.store(saves)
            except DatabaseError as refused:
                exc, state = refused, await self.drive.state()
        self.recorder.fail(exc)
        return Outcome(Run.Status.ERROR, described(exc), state)


@dataclass
class Drive:
    """The execution of a run's graph."""

    graph: Pregel[Any, Any, Any, Any]
    config: RunnableConfig
    attempt: Attempt

    def __post_init__(self) -> None:
        self.held, self.writer = self.attempt.held, self.attempt.writer
        self.saver, self.recorder = self.attempt.saver, self.attempt.recorder
        self.translator = Translator(self.held.kwargs.stream_mode)
        if self.saver:  # Add the graph's own metadata (`with_config`).
            own = (self.graph.config or {}).get("metadata") or {}
            self.saver.metadata = {**own, **self.saver.metadata}

    async def run(self, resumes: bool) -> None:
        """Stream the graph to its end. `resumes`: from the run's last checkpoint."""
        kwargs, config = self.held.kwargs, self.config
        if resumes:
            config = self._newest()
            if await is_at_breakpoint(self.graph, config, kwargs):
                return
        options: dict[str, Any] = {
            "context": context_for(self.graph.context_schema, kwargs.context),
            "interrupt_before": kwargs.interrupt_before,
            "interrupt_after": kwargs.interrupt_after,
        }
        if not self.held.is_temporary:
            options["durability"] = kwargs.durability
        given = None if resumes else graph_input(kwargs)
        if self.saver and continues(given):
            self.saver.check_loaded = NodeCheck(self.graph, self.held, self.saver.pool)
        async for name, data in self._events(given, config, options):
            self.writer.emit(name, data)

    def _events(
        self, given: Any, config: RunnableConfig, options: dict[str, Any]
    ) -> AsyncIterator[WireEvent]:
        kwargs = self.held.kwargs
        if kwargs.is_event_streaming:
            return hooks.normalised_events(
                self.graph, given, config, self.translator, options
            )
        return stream_graph(
            self.graph,
            given,
            config,
            wire_modes=kwargs.stream_mode,
            translator=self.translator,
            subgraphs=kwargs.subgraphs,
            **options,
        )

    def close(self) -> None:
        """Prevent further saves of the graph, which may be still running."""
        if self.saver:
            self.saver.close()

    async def finished(self, task: asyncio.Task[None]) -> Outcome:
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        if exc is None:
            state = await self.state(complete=True)
            exc = await self._take_saves()
        if exc is None:
            asked_in = self.translator.asked_in
            return Outcome(Run.Status.SUCCESS, state=state, asked_in=asked_in)
        if isinstance(exc, (LostRun, CheckpointsUnavailable)):
            raise exc
        if self.saver:
            with suppress(DatabaseError):
                await self.saver.flush()
        self.recorder.fail(exc)
        if self.saver:
            self.saver.check_loaded = None  # Reading the state below must not raise.
        is_first = self.held.attempt == 1
        refusals = (UnknownInterruptError, NodeNotFound) if is_first else ()
        if isinstance(exc, refusals):  # No node was run.
            logger.warning("run %s refused: %s", self.held.id, exc)
            error, end_data = described(exc), refusal(exc)
            return Outcome(Run.Status.ERROR, error, settles=False, end_data=end_data)
        # The graph is user code: whatever it raises is the run's result.
        logger.error("run %s failed", self.held.id, exc_info=exc)
        return Outcome(Run.Status.ERROR, described(exc), await self.state())

    async def _take_saves(self) -> BaseException | None:
        """Keep the last saves for the end. Returns the error of an earlier one."""
        if self.saver is None:
            return None
        try:
            self.attempt.last_saves = await self.saver.take()
        except Exception as exc:
            return exc
        return None

    async def state(self, *, complete: bool = False) -> dict[str, Any]:
        """The thread's columns for its new state, from the stream if it is complete."""
        values = self.translator.values
        streamed = (
            isinstance(self.graph, CompiledStateGraph)
            and values is not None
            and not hides_state(self.graph)
        )
        known: dict[str, Any] = {"interrupts": {}, "status": Thread.Status.IDLE}
        if self.held.is_temporary:
            # Keyed by the ids of the interrupts: only checkpoints have ids of tasks.
            interrupts = {one.id: [one] for one in self.translator.interrupts}
            return known | {"values": values, "interrupts": interrupts}
        if complete and streamed and not self.translator.interrupted:
            return known | {"values": values}
        return cached_columns(await read_state(self.graph, self._newest()))

    def with_output(self, outcome: Outcome | None) -> Outcome | None:
        """Add the values that viewers get to the outcome."""
        if outcome is None or outcome.state is None:
            return outcome
        state = outcome.state
        end_data: dict[str, Any] = {"values": self.translator.number_of_values}
        if self.translator.interrupted:
            end_data["interrupts"] = state["interrupts"]
        output = output_of(self.graph, state["values"])
        return replace(outcome, output=output, end_data=end_data)

    def _newest(self) -> RunnableConfig:
        """The run's config without the checkpoint that it was forked from."""
        configurable = dict(self.config["configurable"])
        for key in FORK_POINT:
            configurable.pop(key, None)
        return {**self.config, "configurable": configurable}
