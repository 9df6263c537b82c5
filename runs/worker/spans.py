"""The spans of one attempt: the attempt, its nodes, models and tools.

Loaded only if traces are on. Spans of models and tools follow OpenTelemetry's
conventions for generative AI. The texts of messages are exported only if `CAPTURE` is
set.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import register_configure_hook
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind

from spool.runs.lifecycle import Claim
from spool.runs.models import RunStep
from spool.runs.tracing import about_attempt, span_id_of
from spool.runs.worker.callbacks import first_message, node_of, outcome_of, place_of
from spool.runs.worker.gen_ai import about_answer, about_call, messages_json
from spool.telemetry import traces
from spool.telemetry.otel import Tracing, context_of, fail
from spool.telemetry.traces import Past

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CAPTURING = {"true", "1", "span_only", "span_and_event"}
CANCELLED = "cancelled"
# Interrupts and commands are raised as exceptions, too, but are not failures.
FAILED = (RunStep.Outcome.ERROR, RunStep.Outcome.CANCELLED)

# Added to every callback manager within a run, like the recorder.
_spans: ContextVar[Spans | None] = ContextVar("spool_spans", default=None)
register_configure_hook(_spans, inheritable=True)


@contextmanager
def of_attempt(held: Claim) -> Iterator[None]:
    """Trace what is executed in this block as an attempt of a run."""
    tracing = traces.tracing()
    now = datetime.now(UTC)
    # Only a difference of the database's times, since its clock may differ.
    since = held.dispatched_at if held.attempt > 1 else None
    waited = held.claimed_at - (since or held.created_at)
    about = about_attempt(held, held.attempt)
    traces.record(
        Past("queue", now - waited, now, held.trace_context, about),
    )
    attempt = tracing.begin(
        f"invoke_agent {held.graph_id}",
        context_of(held.trace_context),
        {**about, "spool.revision": held.revision, "user.id": held.identity},
        span_id=span_id_of(held.id, held.attempt),
    )
    spans = Spans(tracing, capture=is_capturing())
    _spans.set(spans)
    with trace.use_span(attempt, end_on_exit=True):
        try:
            yield
        finally:
            spans.close()


def is_capturing() -> bool:
    return os.environ.get(CAPTURE, "").strip().lower() in CAPTURING


class _Open(NonRecordingSpan):
    """The current span of a context. After its end it stands for the span around it.

    LangChain reports ends in separate tasks, which can't reset the context.
    """

    def __init__(self, span: Span, name: str, context: Context) -> None:
        super().__init__(span.get_span_context())
        self.span = span
        self.name = name
        self._around = _nearest(trace.get_current_span(context))
        self._has_ended = False
        self.context = trace.set_span_in_context(self, context)

    @property
    def nearest(self) -> Span:
        """This span, or the nearest one around it that has not ended."""
        return _nearest(self._around) if self._has_ended else self

    @property
    def live(self) -> Span:
        """The OpenTelemetry span of the nearest one."""
        nearest = self.nearest
        return nearest.span if isinstance(nearest, _Open) else nearest

    def finish(self) -> None:
        self._has_ended = True
        self.span.end()


def _nearest(span: Span) -> Span:
    return span.nearest if isinstance(span, _Open) else span


def _on_live(name: str) -> Callable[..., Any]:
    def call(self: _Open, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.live, name)(*args, **kwargs)

    return call


# Graphs may add attributes to the current span, which must reach the live one.
for _name in (
    *("get_span_context", "is_recording", "set_attribute", "set_attributes"),
    *("add_event", "update_name", "set_status", "record_exception"),
):
    setattr(_Open, _name, _on_live(_name))


class Spans(BaseCallbackHandler):
    """Traces one attempt from LangChain's callbacks. Never raises into the graph."""

    run_inline = True

    def __init__(self, tracing: Tracing, *, capture: bool) -> None:
        super().__init__()
        self._tracing = tracing
        self._capture = capture
        self._lock = threading.Lock()
        self._open: dict[UUID, _Open] = {}
        # The nodes that are being executed, by their checkpoint namespaces.
        self._nodes: dict[str, UUID] = {}

    def close(self) -> None:
        """End the spans that are still open, since the attempt was stopped."""
        with self._lock:
            left = list(self._open.values())
            self._open.clear()
        for one in reversed(left):
            fail(one.span, CANCELLED)
            one.finish()

    def _begin(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        name: str,
        attributes: Mapping[str, Any],
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        with self._lock:
            parent = self._open.get(parent_run_id) if parent_run_id else None
        context = parent.context if parent else contexts.get_current()
        span = self._tracing.begin(name, context, attributes, kind=kind)
        one = _Open(span, name, context)
        with self._lock:
            self._open[run_id] = one
        # For logs, calls to other servers, and libraries with their own traces.
        contexts.attach(one.context)

    def _end(
        self,
        run_id: UUID,
        error: BaseException | None = None,
        *,
        model: str | None = None,
    ) -> None:
        """End a span. `model` is the model's name if it was unknown at the start."""
        with self._lock:
            one = self._open.pop(run_id, None)
        if one is None:
            return
        if model and " " not in one.name:
            one.span.update_name(f"{one.name} {model}")
        if error is not None and outcome_of(error) in FAILED:
            fail(one.span, f"{type(error).__name__}: {error}")
        one.finish()

    def _add(self, run_id: UUID, attributes: Mapping[str, Any]) -> None:
        with self._lock:
            one = self._open.get(run_id)
        if one:
            one.span.set_attributes(dict(attributes))

    # --- Nodes ----------------------------------------------------------------------
    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = node_of(metadata, tags, kwargs.get("name"))
        if found is None or found[1] in self._nodes:
            return
        node, path = found
        self._nodes[path] = run_id
        about = {
            "langgraph.node": node,
            "langgraph.checkpoint_ns": path,
            "langgraph.step": (metadata or {}).get("langgraph_step", 0),
        }
        self._begin(run_id, parent_run_id, f"node {node}", about)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end_node(run_id)

    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, **kwargs: Any
    ) -> None:
        self._end_node(run_id, error)

    def _end_node(self, run_id: UUID, error: BaseException | None = None) -> None:
        if run_id in self._open:
            self._nodes = {k: v for k, v in self._nodes.items() if v != run_id}
            self._end(run_id, error)

    # --- Models ---------------------------------------------------------------------
    def on_chat_model_start(
        self,
        serialized: Any,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        about = about_call("chat", place_of(metadata), kwargs)
        if self._capture:
            about["gen_ai.input.messages"] = messages_json(messages[0])
        self._begin_model(run_id, parent_run_id, about)

    def on_llm_start(
        self,
        serialized: Any,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        about = about_call("text_completion", place_of(metadata), kwargs)
        if self._capture:
            messages: list[BaseMessage] = [HumanMessage(text) for text in prompts]
            about["gen_ai.input.messages"] = messages_json(messages)
        self._begin_model(run_id, parent_run_id, about)

    def _begin_model(
        self, run_id: UUID, parent_run_id: UUID | None, about: dict[str, Any]
    ) -> None:
        name = f"{about['gen_ai.operation.name']} {about['gen_ai.request.model']}"
        self._begin(run_id, parent_run_id, name.strip(), about, SpanKind.CLIENT)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        message = first_message(response)
        about = about_answer(message)
        if self._capture and message is not None:
            about["gen_ai.output.messages"] = messages_json([message])
        self._add(run_id, about)
        self._end(run_id, model=about.get("gen_ai.response.model"))

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, **kwargs: Any
    ) -> None:
        self._end(run_id, error)

    # --- Tools ----------------------------------------------------------------------
    def on_tool_start(
        self,
        serialized: Any,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        name = kwargs.get("name") or (serialized or {}).get("name") or ""
        about = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": str(name),
            "gen_ai.tool.type": "function",
        }
        if call_id := kwargs.get("tool_call_id"):
            about["gen_ai.tool.call.id"] = str(call_id)
        if self._capture:
            about["gen_ai.tool.call.arguments"] = input_str
        self._begin(run_id, parent_run_id, f"execute_tool {name}", about)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        if self._capture:
            content = output.content if isinstance(output, ToolMessage) else output
            self._add(run_id, {"gen_ai.tool.call.result": str(content)})
        if getattr(output, "status", None) == "error":
            self._add(run_id, {"error.type": "tool_error"})
        self._end(run_id)

    def on_tool_error(
        self, error: BaseException, *, run_id: UUID, **kwargs: Any
    ) -> None:
        self._end(run_id, error)
