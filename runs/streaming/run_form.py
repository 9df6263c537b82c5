"""Events of event streaming in the forms that viewers of runs get.

A run that was started by event streaming can be joined like any other. For values,
updates, custom data and tasks, only the name of the event changes; a model's message is
put together from its events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk

from spool.database.json import dumps, loads
from spool.runs.streaming.events import NORMALISED, SUBSCRIBERS_ONLY, Event
from spool.runs.streaming.modes import MESSAGES

UNCHANGED = ("values", "updates", "custom", "tasks")


@dataclass
class _Message:
    """The part of a model's message that has been received."""

    id: str
    metadata: dict[str, Any]
    text: str = ""
    tool_calls: list[Any] = field(default_factory=list)
    usage: Any = None

    def whole(self) -> AIMessage:
        return AIMessage(
            self.text,
            id=self.id,
            tool_calls=self.tool_calls,
            usage_metadata=self.usage,
        )


@dataclass
class RunForm:
    """Converts the events of a thread for one viewer.

    `in_chunks`: messages as in the stream mode `messages-tuple`, and otherwise as in
    `messages`, where each event has the whole message so far.
    """

    in_chunks: bool = False
    # The messages that are being streamed, by run and namespace, and then by the id of
    # the model's run, which events contain if several messages are streamed at once.
    _active: dict[tuple[str, ...], dict[str, _Message]] = field(default_factory=dict)

    def of(self, event: Event) -> Event | None:
        """The event for viewers of runs. None if they don't get it."""
        mark = event.name[:1]
        if mark not in (NORMALISED, SUBSCRIBERS_ONLY):
            return event
        channel, *namespace = event.name[1:].split("|")
        mode = channel.partition(":")[0]
        if mark == SUBSCRIBERS_ONLY:
            return None
        if mode in UNCHANGED:
            return replace(event, name="|".join([mode, *namespace]))
        return self._message(event, namespace) if mode == MESSAGES else None

    def _message(self, event: Event, namespace: list[str]) -> Event | None:
        payload = loads(event.data)
        active = self._active.setdefault((event.run_id, *namespace), {})
        if payload["event"] == "message-start":
            return self._start(event, payload, active)
        model_run = payload.get("run_id") or next(iter(active), "")
        message = active.get(model_run)
        if message is None:  # The viewer joined in the middle of the message.
            return None
        change = _changed(message, payload)
        if payload["event"] in ("message-finish", "error"):
            del active[model_run]
        if change is None:
            return None
        if not self.in_chunks:
            return replace(
                event, name="messages/partial", data=dumps([message.whole()])
            )
        chunk = AIMessageChunk(id=message.id, **change)
        name = "|".join([MESSAGES, *namespace])
        return replace(event, name=name, data=dumps([chunk, message.metadata]))

    def _start(
        self, event: Event, payload: Mapping[str, Any], active: dict[str, _Message]
    ) -> Event | None:
        if payload.get("role") != "ai":
            return None
        model_run, node = payload.get("run_id", ""), payload.get("node")
        metadata = {
            "run_id": event.run_id,
            "graph_id": event.graph_id,
            "langgraph_node": node,
        }
        message = active[model_run] = _Message(payload.get("id") or "", metadata)
        if self.in_chunks:
            return None
        data = {message.id: {"metadata": metadata}}
        return replace(event, name="messages/metadata", data=dumps(data))


def _changed(message: _Message, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """Add an event to its message. Returns the change as the fields of a chunk."""
    kind = payload["event"]
    if kind == "content-block-delta" and payload["delta"].get("type") == "text-delta":
        message.text += payload["delta"]["text"]
        return {"content": payload["delta"]["text"]}
    block = payload.get("content") or {}
    if kind == "content-block-finish" and block.get("type") == "tool_call":
        call = {name: block.get(name) for name in ("name", "args", "id")}
        message.tool_calls.append({**call, "type": "tool_call"})
        args = dumps(call["args"]).decode()
        index = len(message.tool_calls) - 1
        chunk = {**call, "args": args, "index": index, "type": "tool_call_chunk"}
        return {"content": "", "tool_call_chunks": [chunk]}
    if kind == "message-finish" and payload.get("usage"):
        message.usage = payload["usage"]
        return {"content": "", "usage_metadata": payload["usage"]}
    return None
