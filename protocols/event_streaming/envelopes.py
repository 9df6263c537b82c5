"""Convert the kept events of a thread to events of the protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from spool.database.json import dumps, loads
from spool.protocols.event_streaming.forms import compact_json
from spool.runs.streaming import events
from spool.runs.streaming.events import (
    INPUT_ANSWERED,
    NORMALISED,
    SUBSCRIBERS_ONLY,
    Event,
)

INPUT_REQUESTED = "input.requested"
OF_INPUT = (INPUT_REQUESTED, INPUT_ANSWERED)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event of the protocol. `channel` is what clients subscribe to."""

    seq: int
    event_id: str
    channel: str
    namespace: tuple[str, ...]
    timestamp: int
    data: bytes
    is_answer: bool = False

    @property
    def method(self) -> str:
        if self.channel == "input":
            return INPUT_ANSWERED if self.is_answer else INPUT_REQUESTED
        return self.channel.partition(":")[0]

    def json(self) -> bytes:
        return (
            b'{"type":"event","event_id":%s,"seq":%d,"method":"%s","params":'
            b'{"namespace":%s,"timestamp":%d,"data":%s}}'
        ) % (
            dumps(self.event_id),
            self.seq,
            self.method.encode(),
            dumps(self.namespace) if self.namespace else b"[]",
            self.timestamp,
            self.data,
        )

    def sse(self) -> bytes:
        return b"event: %s\r\ndata: %s\r\nid: %d\r\n\r\n" % (
            self.method.encode(),
            self.json(),
            self.seq,
        )


def enveloped(event: Event) -> Envelope | None:
    """Convert an event of a thread; None if the protocol has no event for it."""
    mark, channel, namespace = _parts(event.name)
    if mark == NORMALISED:
        if channel == "lifecycle":
            return _lifecycle(event, namespace, loads(event.data))
        return _envelope(event, channel, namespace, event.data)
    if mark == SUBSCRIBERS_ONLY and channel == INPUT_REQUESTED:
        return _requested(event, namespace)
    if mark == SUBSCRIBERS_ONLY and channel == INPUT_ANSWERED:
        return _answered(event)
    if channel == "values":
        return _envelope(event, channel, namespace, _values(event.data))
    if event.name == events.METADATA:
        return _lifecycle(event, (), {"event": "running"})
    if event.name == events.END:
        return _lifecycle(event, (), loads(event.data)["lifecycle"])
    return None


def channel_of(event: Event) -> str | None:
    """The channel that the event's envelope would have, without building it."""
    mark, channel, _ = _parts(event.name)
    if event.name in (events.METADATA, events.END):
        return "lifecycle"
    if channel in OF_INPUT:
        return "input"
    return channel if mark or channel == "values" else None


def namespace_of(event: Event) -> tuple[str, ...]:
    return _parts(event.name)[2]


# Most events of a thread have one of a few names.
@lru_cache(maxsize=256)
def _parts(name: str) -> tuple[str, str, tuple[str, ...]]:
    mark = name[:1] if name[:1] in (NORMALISED, SUBSCRIBERS_ONLY) else ""
    channel, *namespace = name[len(mark) :].split("|")
    return mark, channel, tuple(namespace)


def _envelope(
    event: Event,
    channel: str,
    namespace: tuple[str, ...],
    data: bytes,
    event_id: str = "",
) -> Envelope:
    return Envelope(
        event.seq,
        event_id or f"{event.id[0]}-{event.id[1]}",
        channel,
        namespace,
        event.id[0],
        data,
    )


def _lifecycle(event: Event, namespace: tuple[str, ...], payload: Any) -> Envelope:
    """Clients read the run's id from the event's id, and recognise repeats by it."""
    if not namespace:
        payload = {"event": payload["event"], "graph_name": event.graph_id, **payload}
    event_id = f"synth:{event.run_id}:lc|{'|'.join(namespace)}|{payload['event']}"
    return _envelope(event, "lifecycle", namespace, dumps(payload), event_id)


def _requested(event: Event, namespace: tuple[str, ...]) -> Envelope:
    interrupt_id = loads(event.data)["interrupt_id"]
    event_id = f"synth:{event.run_id}:input|{'|'.join(namespace)}|{interrupt_id}"
    return _envelope(event, "input", namespace, event.data, event_id)


def _answered(event: Event) -> Envelope:
    event_id = f"synth:{event.run_id}:answered"
    envelope = _envelope(event, "input", (), event.data, event_id)
    return replace(envelope, is_answer=True)


def _values(data: bytes) -> bytes:
    """The values event of a run that was not started by the protocol, as JSON."""
    values = loads(data)
    if isinstance(values, dict):
        values.pop("__interrupt__", None)
    return dumps(compact_json(values))
