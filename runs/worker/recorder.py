"""Records what a run does from LangChain's callbacks: steps, tools, tokens, errors.

One handler per attempt gets the callbacks of everything below the graph: subgraphs,
parallel branches, models that tools call. It costs a few dictionary operations per
node, writes nothing itself, and never raises into the graph, except to refuse models.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import register_configure_hook

from spool.runs.lifecycle import Claim
from spool.runs.models import RunStep
from spool.runs.record import FIRST_STEPS, LAST_STEPS, AttemptRecord, StepRecord
from spool.runs.worker.callbacks import (
    MAX_NAME,
    first_message,
    node_of,
    outcome_of,
    place_of,
)
from spool.runs.worker.failures import described, traceback_of
from spool.usage.meter import Key, Meter, Source
from spool.usage.tokens import NO_TOKENS, Tokens, tokens_of_call

# The delay before each refusal, for a graph that keeps calling models after its budget
# is used up.
REFUSAL_PAUSE_SECS = 0.5
# How many tool calls of a step are kept.
MAX_TOOLS = 20
# How many exceptions of steps are kept, to find the node that made the attempt fail.
MAX_RAISED = 1000
# How many causes of an exception are followed.
MAX_CAUSES = 10

# Added to every callback manager that is configured within a run, even if a node passes
# its own callbacks.
_recorder: ContextVar[Recorder | None] = ContextVar("spool_recorder", default=None)
register_configure_hook(_recorder, inheritable=True)


class ModelsRefused(Exception):
    """The run was stopped because its budget is used up."""


@dataclass(slots=True)
class _Call:
    """A model call or tool call that has not returned yet."""

    node: str
    namespace: str
    name: str
    provider: str = ""
    started: float = field(default_factory=time.monotonic)
    # The usage that the chunks of a stream have reported so far.
    streamed: Tokens = NO_TOKENS


@dataclass(slots=True)
class _Step:
    number: int
    node: str
    namespace: str
    task_id: str
    started_at: datetime
    started: float = field(default_factory=time.monotonic)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)


class Recorder(BaseCallbackHandler):
    """Records one attempt of one run. Callbacks come from the loop and from threads."""

    run_inline = True

    def __init__(self, held: Claim, meter: Meter, changed: Callable[[], None]) -> None:
        super().__init__()
        self.held = held
        self._meter = meter
        # To call when there are new records to write.
        self._changed = changed
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._count = 0
        self._traceback = ""
        self._node = ""
        # The nodes that have raised exceptions, by the `id()` of the exception.
        self._raised: dict[int, str] = {}
        self._tokens: dict[str, Tokens] = {}
        # The steps that are being executed, by their checkpoint namespaces.
        self._open: dict[str, _Step] = {}
        self._step_runs: dict[UUID, str] = {}
        self._calls: dict[UUID, _Call] = {}
        # Finished steps that are not written yet, by slot.
        self._done: dict[int, StepRecord] = {}
        self._used: set[Key] = set()

    def refuse_models(self) -> None:
        """Refuse model calls from now on, even if the graph ignores cancellation."""
        self.raise_error = True

    def begin(self) -> None:
        """Record the current task and the tasks that it starts."""
        _recorder.set(self)

    # --- Records to write -----------------------------------------------------------
    @property
    def keys(self) -> list[Key]:
        with self._lock:
            return list(self._used)

    @property
    def steps(self) -> list[StepRecord]:
        with self._lock:
            return list(self._done.values())

    def written(self, steps: Sequence[StepRecord]) -> None:
        """Mark these steps as written to Postgres."""
        with self._lock:
            for step in steps:
                if self._done.get(step.slot) is step:
                    del self._done[step.slot]

    def fail(self, exc: BaseException) -> None:
        """Keep the exception that the attempt failed with, and its node."""
        self._traceback = traceback_of(exc)
        with self._lock:
            named = (self._raised.get(id(each)) for each in _causes(exc))
            self._node = next((node for node in named if node), "")

    def finish(self) -> AttemptRecord:
        """The totals of the attempt. Unfinished steps are recorded as cancelled."""
        with self._lock:
            for step in self._open.values():
                self._close(step, RunStep.Outcome.CANCELLED)
            self._open.clear()
            return AttemptRecord(
                self._count, dict(self._tokens), self._traceback, self._node
            )

    @property
    def seconds(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self._began

    @property
    def tokens(self) -> Tokens:
        with self._lock:
            return sum(self._tokens.values(), NO_TOKENS)

    # --- Nodes ----------------------------------------------------------------------
    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = node_of(metadata, tags, kwargs.get("name"))
        if found is None:
            return
        node, path = found
        namespace, _, task = path.rpartition("|")
        with self._lock:
            if path in self._open:  # Runnables inside a node have the same name.
                return
            self._open[path] = _Step(
                self._count,
                node,
                namespace,
                task.rpartition(":")[2],
                datetime.now(UTC),
            )
            self._count += 1
            self._step_runs[run_id] = path

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end_step(run_id, RunStep.Outcome.SUCCESS)

    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, **kwargs: Any
    ) -> None:
        self._end_step(run_id, outcome_of(error), error)

    def _end_step(
        self, run_id: UUID, outcome: str, error: BaseException | None = None
    ) -> None:
        with self._lock:
            path = self._step_runs.pop(run_id, None)
            step = self._open.pop(path, None) if path is not None else None
            if step is None:
                return
            self._close(step, outcome, error)
        self._changed()

    def _close(
        self, step: _Step, outcome: str, error: BaseException | None = None
    ) -> None:
        is_error = error is not None and outcome == RunStep.Outcome.ERROR
        if is_error and len(self._raised) < MAX_RAISED:
            # An inner node ends first. The outer ones, which pass on the exception,
            # must not replace it.
            self._raised.setdefault(id(error), step.node)
        slot = step.number
        if slot >= FIRST_STEPS:
            slot = FIRST_STEPS + (slot - FIRST_STEPS) % LAST_STEPS
        self._done[slot] = StepRecord(
            slot=slot,
            number=step.number,
            node=step.node,
            namespace=step.namespace,
            task_id=step.task_id,
            started_at=step.started_at,
            duration_ms=_ms_since(step.started),
            outcome=outcome,
            tokens={name: tokens.as_json() for name, tokens in step.tokens.items()},
            tools=step.tools,
            error=described(error) if is_error and error else None,
            traceback=traceback_of(error) if is_error and error else "",
        )

    # --- Models ---------------------------------------------------------------------
    # Coroutines, so that a graph that retries refused calls can't block the loop.
    async def on_chat_model_start(
        self,
        serialized: Any,
        messages: Any,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.raise_error:
            await asyncio.sleep(REFUSAL_PAUSE_SECS)
            raise ModelsRefused(str(self.held.id))
        self._begin_model(run_id, metadata, kwargs)

    async def on_llm_start(
        self,
        serialized: Any,
        prompts: Any,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.raise_error:
            await asyncio.sleep(REFUSAL_PAUSE_SECS)
            raise ModelsRefused(str(self.held.id))
        self._begin_model(run_id, metadata, kwargs)

    def _begin_model(
        self, run_id: UUID, metadata: dict[str, Any] | None, options: dict[str, Any]
    ) -> None:
        found = place_of(metadata)
        invoked = options.get("invocation_params") or {}
        model = found.get("ls_model_name") or invoked.get("model_name")
        call = _Call(
            node=str(found.get("langgraph_node", ""))[:MAX_NAME],
            namespace=str(found.get("langgraph_checkpoint_ns", "")),
            name=str(model or invoked.get("model") or options.get("name") or "")[
                :MAX_NAME
            ],
            provider=str(found.get("ls_provider") or "")[:MAX_NAME],
        )
        with self._lock:
            self._calls[run_id] = call

    def on_llm_new_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        message = getattr(chunk, "message", None)
        reported = getattr(message, "usage_metadata", None)
        if reported and (call := self._calls.get(run_id)):
            call.streamed += tokens_of_call(reported)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        message = first_message(response)
        about = getattr(message, "response_metadata", None) or {}
        model = about.get("model_name") or about.get("model") or about.get("model_id")
        self._end_model(
            run_id,
            getattr(message, "usage_metadata", None),
            str(model or "")[:MAX_NAME],
        )

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, **kwargs: Any
    ) -> None:
        # Tokens that were streamed before an error count as used.
        self._end_model(run_id, None, "")

    def _end_model(self, run_id: UUID, reported: Any, model: str) -> None:
        with self._lock:
            call = self._calls.pop(run_id, None)
            if call is None:
                return
            tokens = tokens_of_call(reported)
            if not reported:
                streamed = call.streamed.as_json() | {"calls": 1}
                tokens = Tokens(**streamed)
            name = model or call.name or "unknown"
            self._tokens[name] = self._tokens.get(name, NO_TOKENS) + tokens
            if step := self._open.get(call.namespace):
                step.tokens[name] = step.tokens.get(name, NO_TOKENS) + tokens
            self._used.add(self._meter.add(self._source(call, name), tokens))
        self._changed()

    def _source(self, call: _Call, model: str) -> Source:
        held = self.held
        return Source(
            owner=held.identity,
            api_key_id=held.api_key_id,
            assistant_id=held.assistant_id,
            graph_id=held.graph_id,
            revision=held.revision,
            node=call.node,
            provider=call.provider,
            model=model,
        )

    # --- Tools ----------------------------------------------------------------------
    def on_tool_start(
        self,
        serialized: Any,
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = place_of(metadata)
        name = kwargs.get("name") or (serialized or {}).get("name") or ""
        with self._lock:
            self._calls[run_id] = _Call(
                node="",
                namespace=str(found.get("langgraph_checkpoint_ns", "")),
                name=str(name)[:MAX_NAME],
            )

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        failed = getattr(output, "status", None) == "error"
        self._end_tool(
            run_id, RunStep.Outcome.ERROR if failed else RunStep.Outcome.SUCCESS
        )

    def on_tool_error(
        self, error: BaseException, *, run_id: UUID, **kwargs: Any
    ) -> None:
        self._end_tool(run_id, outcome_of(error))

    def _end_tool(self, run_id: UUID, outcome: str) -> None:
        with self._lock:
            call = self._calls.pop(run_id, None)
            step = self._open.get(call.namespace) if call else None
            if call and step and len(step.tools) < MAX_TOOLS:
                step.tools.append(
                    {
                        "name": call.name,
                        "duration_ms": _ms_since(call.started),
                        "outcome": outcome,
                    }
                )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The exception, and its causes."""
    each: BaseException | None = exc
    for _ in range(MAX_CAUSES):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)
