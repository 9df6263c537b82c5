"""Run a graph as normalised events: LangGraph's own, in the format of the wire.

Runs in the worker (see `runs.worker.hooks`), for runs that the protocol has started. An
event's name is `@` and its channel, followed by the parts of its namespace, each after
a `|`.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from langchain_core._api import LangChainBetaWarning
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.stream import StreamChannel, StreamTransformer

from spool.protocols.event_streaming.forms import written
from spool.runs.streaming.events import NORMALISED
from spool.runs.streaming.modes import INTERRUPT, Translator, WireEvent
from spool.threads.snapshots import hides_state

warnings.filterwarnings(
    "ignore", "The v3 streaming protocol on Pregel", LangChainBetaWarning
)

Graph = Pregel[Any, Any, Any, Any]
Namespace = tuple[str, ...]

# LangGraph's status of a run that is stopped early is not in the protocol.
STATUSES = {"drained": "interrupted"}


async def normalised_events(
    graph: Graph,
    given: Any,
    config: RunnableConfig,
    translator: Translator,
    options: dict[str, Any],
) -> AsyncIterator[WireEvent]:
    """Run `graph`, yielding its events. `options` are those of `Pregel.astream`.

    `translator` receives the values from which it builds the state of the run's thread.
    """
    public = None
    if hides_state(graph):
        public = frozenset(graph.output_channels)
    options = {**options, "output_keys": graph.output_channels}
    run = await graph.astream_events(
        given, config, version="v3", transformers=[_Everything], **options
    )
    normaliser = _Normaliser(translator, public)
    async with run:
        try:
            async for event in run:
                for one in normaliser.events(event):
                    yield one
        except Exception:
            for one in normaliser.release():
                yield one
            raise
        for one in normaliser.release():
            yield one


class _Everything(StreamTransformer):
    """Requests all channels of a graph.

    By default LangGraph converts the events of tasks, and drops them.
    """

    _native = True
    required_stream_modes = ("checkpoints", "custom", "tasks", "tools", "updates")
    before_builtins = True

    def init(self) -> dict[str, Any]:
        if self.scope:  # The root passes on the events of subgraphs, too.
            return {}
        self._tasks: StreamChannel[Any] = StreamChannel("tasks")
        return {"spool_tasks": self._tasks}

    def process(self, event: Any) -> bool:
        if not self.scope and event["method"] == "tasks":
            params = event["params"]
            self._tasks.push((tuple(params["namespace"]), params["data"]))
        return True


@dataclass
class _Normaliser:
    translator: Translator
    # The root graph's channels that clients may see; None: all.
    public: frozenset[str] | None
    _graph_names: dict[Namespace, str] = field(default_factory=dict)
    # Values that wait for their checkpoint: clients expect the checkpoint first, but
    # some come after the values.
    _held: tuple[Namespace, WireEvent] | None = None
    _begun: set[Namespace] = field(default_factory=set)
    _unsaved: set[Namespace] = field(default_factory=set)
    _messages: _Messages = field(default_factory=lambda: _Messages())
    # The keys in the events of each subgraph, which are those of its output schema.
    _shown: dict[Namespace, set[str]] = field(default_factory=dict)

    def events(self, event: Any) -> Iterator[WireEvent]:
        method, params = event["method"], event["params"]
        namespace, data = tuple(params["namespace"]), params["data"]
        if method == "checkpoints":
            yield _named(method, namespace, _checkpoint(data))
            if self._held and self._held[0] == namespace:
                yield self._held[1]
                self._held = None
            self._begun.add(namespace)
            return
        yield from self.release()
        if method == "values":
            yield from self._values(namespace, data, params.get("interrupts") or ())
        else:
            yield from self._others(method, namespace, data)

    def release(self) -> list[WireEvent]:
        """Return values that were held for a checkpoint which has not come."""
        if self._held is None:
            return []
        (namespace, event), self._held = self._held, None
        self._unsaved.add(namespace)
        return [event]

    def _values(
        self, namespace: Namespace, values: Any, interrupts: Sequence[Any]
    ) -> Iterator[WireEvent]:
        self.translator.note(namespace, values, interrupts)
        self._note_shown(namespace, values)
        event = _named("values", namespace, values)
        is_first = namespace not in self._begun
        self._begun.add(namespace)
        if interrupts or is_first or namespace in self._unsaved:
            yield event
        else:
            self._held = namespace, event

    def _others(
        self, method: str, namespace: Namespace, data: Any
    ) -> Iterator[WireEvent]:
        if method == "lifecycle":
            yield self._lifecycle(data)
        elif method == "tasks":
            yield self._task(*data)
        elif method == "messages":
            # A whole message is in the values as well.
            if isinstance(data[0], dict):
                yield _named(method, namespace, self._messages.marked(namespace, *data))
        elif method.startswith("custom"):
            yield _custom(method, namespace, data)
        elif method == "tools":
            yield _named(method, namespace, data)
        elif method == "updates":
            yield from self._updates(namespace, data)

    def _updates(self, namespace: Namespace, data: Any) -> Iterator[WireEvent]:
        if INTERRUPT in data:
            return
        for update in data.values():
            self._note_shown(namespace, update)
        yield _named("updates", namespace, data)

    def _lifecycle(self, data: Any) -> WireEvent:
        namespace = tuple(data["namespace"])
        payload = {**data, "event": STATUSES.get(data["event"], data["event"])}
        if data["event"] == "started":
            self._graph_names[namespace] = data.get("graph_name", "")
        elif name := self._graph_names.get(namespace):
            del payload["namespace"]
            payload = {"event": payload.pop("event"), "graph_name": name, **payload}
        return _named("lifecycle", namespace, payload)

    def _task(self, namespace: Namespace, data: Any) -> WireEvent:
        payload = {**data}
        if isinstance(data.get("error"), BaseException):
            payload["error"] = str(data["error"]) or type(data["error"]).__name__
        public = self._shown.get(namespace) if namespace else self.public
        if public is not None:
            for part in ("input", "result"):
                if isinstance(payload.get(part), dict):
                    payload[part] = {
                        k: v for k, v in payload[part].items() if k in public
                    }
                elif part in payload:
                    del payload[part]
        return _named("tasks", namespace, payload)

    def _note_shown(self, namespace: Namespace, values: Any) -> None:
        if namespace and isinstance(values, dict):
            self._shown.setdefault(namespace, set()).update(values)


@dataclass
class _Messages:
    """Tells apart the messages that models stream at the same time in one namespace.

    Clients match an event to its message by the event's place. For several messages at
    once, the Python client matches by `id`, and the JavaScript client by `run_id`.
    """

    _active: dict[Namespace, dict[str, Any]] = field(default_factory=dict)
    _mixed: set[Namespace] = field(default_factory=set)

    def marked(
        self, namespace: Namespace, event: dict[str, Any], metadata: dict[str, Any]
    ) -> dict[str, Any]:
        run_id, kind = str(metadata.get("run_id", "")), event.get("event")
        active = self._active.setdefault(namespace, {})
        if kind == "message-start":
            active[run_id] = event.get("id")
            if len(active) > 1:
                self._mixed.add(namespace)
            return {**event, "run_id": run_id, "node": metadata.get("langgraph_node")}
        if namespace in self._mixed:
            event = {**event, "run_id": run_id, "id": active.get(run_id)}
        if kind in ("message-finish", "error"):
            active.pop(run_id, None)
            if not active:
                self._mixed.discard(namespace)
        return event


def _custom(method: str, namespace: Namespace, data: Any) -> WireEvent:
    """Data that a node has written, or that a transformer of the graph returned."""
    if method != "custom":
        payload = {"name": method.removeprefix("custom:"), "payload": data}
        return _named(method, namespace, payload)
    name = data.get("name") if isinstance(data, dict) else None
    is_named = isinstance(name, str) and name
    return _named(f"custom:{name}" if is_named else method, namespace, data)


def _named(channel: str, namespace: Namespace, data: Any) -> WireEvent:
    name = "|".join((NORMALISED + channel, *namespace))
    return name, data if isinstance(data, orjson.Fragment) else written(data)


def _checkpoint(data: Any) -> dict[str, Any]:
    """The fields of a checkpoint that clients need to continue from it."""
    metadata, parent = data.get("metadata") or {}, data.get("parent_config") or {}
    payload = {"id": data["config"]["configurable"]["checkpoint_id"]}
    if parent_id := parent.get("configurable", {}).get("checkpoint_id"):
        payload["parent_id"] = parent_id
    named = {"step": metadata.get("step"), "source": metadata.get("source")}
    return {**payload, **{k: v for k, v in named.items() if v is not None}}
