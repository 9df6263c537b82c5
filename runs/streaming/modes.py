"""Translates the stream of a graph to the events of the wire, mode by mode.

The rules are those of the official server; see the wire contract, section 6.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from langchain_core.messages import (
    BaseMessage,
    BaseMessageChunk,
    ToolMessage,
    message_chunk_to_message,
)
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import Interrupt

WireEvent = tuple[str, Any]

# The wire has two forms of what langgraph calls "messages".
MESSAGES = "messages"
MESSAGES_TUPLE = "messages-tuple"
EVENTS = "events"
# The key of values and updates that holds interrupts, if the graph was interrupted.
INTERRUPT = "__interrupt__"


def graph_modes(wire_modes: Sequence[str]) -> Any:
    """The stream modes to run a graph with. Two of them are for the run's end."""
    modes = {MESSAGES if mode == MESSAGES_TUPLE else mode for mode in wire_modes}
    return sorted({*modes, "values", "updates"} - {EVENTS})


class Translator:
    """Turns one run's stream into wire events; remembers its messages and values.

    `values` is the last state that the root graph streamed, limited to its output
    schema; `interrupted` is true if the graph stopped with work left.
    """

    def __init__(self, wire_modes: Sequence[str]) -> None:
        self.values: Any = None
        self.interrupted = False
        # The run's interrupts, in the order in which they were raised.
        self.interrupts: list[Any] = []
        # The namespace of the graph that raised each interrupt, by the interrupt's id.
        self.asked_in: dict[str, tuple[str, ...]] = {}
        # The number of `values` events of the root graph.
        self.number_of_values = 0
        self._wanted = set(wire_modes)
        # Streamed messages so far, by id.
        self._messages: dict[str, BaseMessage] = {}

    def translate(
        self, namespace: Sequence[str], mode: str, payload: Any
    ) -> Iterator[WireEvent]:
        if not namespace:
            self._remember(mode, payload)
        if mode == MESSAGES:
            if MESSAGES_TUPLE in self._wanted:
                yield _named(MESSAGES, namespace), payload
            elif MESSAGES in self._wanted:
                yield from self._whole_messages(*payload)
        elif mode in self._wanted:
            self.number_of_values += mode == "values" and not namespace
            yield _named(mode, namespace), _shaped(mode, payload)

    def _remember(self, mode: str, payload: Any) -> None:
        if mode == "values":
            self.values = payload
        if mode in ("values", "updates") and _tells_interrupts(payload):
            self.interrupted = True
            if mode == "updates":
                self.interrupts += payload[INTERRUPT]

    def note(
        self, namespace: tuple[str, ...], values: Any, interrupts: Sequence[Interrupt]
    ) -> None:
        """Remember values that are streamed without being translated here."""
        for one in interrupts:
            known = self.asked_in.get(one.id, ())
            self.asked_in[one.id] = max(known, namespace, key=len)
        if not namespace:
            self.values = values
            self.interrupted = self.interrupted or bool(interrupts)

    def _whole_messages(
        self, message: BaseMessage, metadata: dict[str, Any]
    ) -> Iterator[WireEvent]:
        """The older form: each event has the whole message so far."""
        key = str(message.id)
        before = self._messages.get(key)
        if before is None:
            yield "messages/metadata", {key: {"metadata": metadata}}
        if not isinstance(message, BaseMessageChunk):
            self._messages[key] = message
            yield "messages/complete", [message]
            return
        whole = before + message if isinstance(before, BaseMessageChunk) else message
        self._messages[key] = whole
        yield "messages/partial", [message_chunk_to_message(whole)]


async def stream_graph(
    graph: Pregel[Any, Any, Any, Any],
    graph_input: Any,
    config: RunnableConfig,
    *,
    wire_modes: Sequence[str],
    translator: Translator,
    **options: Any,
) -> AsyncIterator[WireEvent]:
    """Run `graph`, yielding wire events. `options` are those of `Pregel.astream`.

    `values` and `updates` show only the keys of the graph's output schema.
    """
    options["stream_mode"] = graph_modes(wire_modes)
    options["output_keys"] = graph.output_channels
    if EVENTS not in wire_modes:
        async for chunk in graph.astream(graph_input, config, **options):
            for event in translator.translate(*_parts(chunk, options["subgraphs"])):
                yield event
        return
    root = str(config["run_id"])
    async for emitted in graph.astream_events(
        graph_input, config, version="v2", **options
    ):
        if emitted["event"] == "on_chain_stream" and emitted["run_id"] == root:
            chunk = cast("dict[str, Any]", emitted["data"])["chunk"]
            for event in translator.translate(*_parts(chunk, options["subgraphs"])):
                yield event
        else:
            _name_message(emitted)
            yield EVENTS, emitted


def _name_message(event: Any) -> None:
    """Give a tool's message its id now, not later, in the state's reducer.

    The state will contain the same object, so that clients can find the id in it.
    """
    output = event["data"].get("output")
    if isinstance(output, ToolMessage) and output.id is None:
        output.id = str(uuid4())


def with_interrupts(values: Any, interrupts: Mapping[str, Any] | None) -> Any:
    """A thread's values as events show them, with the interrupts of its tasks."""
    ordered = in_order_of_tasks(interrupts)
    if ordered and isinstance(values, (dict, type(None))):
        return {**(values or {}), INTERRUPT: ordered}
    return values


def in_order_of_tasks(interrupts: Mapping[str, Any] | None) -> list[Any]:
    """The interrupts of all tasks, as one list."""
    return [one for task in (interrupts or {}).values() for one in task]


def _tells_interrupts(payload: Any) -> bool:
    """Whether a payload has interrupts. A state may also have a key of that name."""
    interrupts = payload.get(INTERRUPT) if isinstance(payload, dict) else None
    return isinstance(interrupts, tuple) and all(
        isinstance(i, Interrupt) for i in interrupts
    )


def _parts(chunk: Any, subgraphs: bool) -> tuple[Sequence[str], str, Any]:
    return chunk if subgraphs else ((), *chunk)


def _named(mode: str, namespace: Sequence[str]) -> str:
    return "|".join([mode, *namespace])


def _shaped(mode: str, payload: Any) -> Any:
    if mode == "checkpoints":
        return _checkpoint(payload)
    if mode == "debug" and payload["type"] == "checkpoint":
        checkpoint = _checkpoint(payload["payload"])
        short = {
            "checkpoint": _short(checkpoint["config"]),
            "parent_checkpoint": _short(checkpoint["parent_config"]),
        }
        tasks = [_with_checkpoint(task) for task in checkpoint["tasks"]]
        return {**payload, "payload": {**checkpoint, "tasks": tasks, **short}}
    return payload


def _with_checkpoint(task: dict[str, Any]) -> dict[str, Any]:
    """A task of a debug event, with the config of its subgraph's state, if any."""
    if not (task.get("state") or {}).get("configurable"):
        return task
    others = {key: value for key, value in task.items() if key != "state"}
    return {**others, "checkpoint": task["state"]["configurable"]}


def _checkpoint(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        **payload,
        "config": _public(payload["config"]),
        "parent_config": _public(payload["parent_config"]),
    }


def _public(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """A config without langgraph's private keys, which hold objects of this process."""
    if config is None:
        return None
    configurable = config.get("configurable", {})
    return {
        "configurable": {
            key: value for key, value in configurable.items() if key[:2] != "__"
        }
    }


def _short(config: dict[str, Any] | None) -> dict[str, Any] | None:
    if config is None:
        return None
    configurable = config["configurable"]
    keys = ("checkpoint_id", "thread_id", "checkpoint_ns")
    short = {key: configurable.get(key) for key in keys}
    if configurable.get("checkpoint_map"):  # Of a subgraph.
        short["checkpoint_map"] = configurable["checkpoint_map"]
    return short
