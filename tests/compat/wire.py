"""Read streams, and normalise recordings, so that two of the same run are equal.

Ids differ from run to run, so each is replaced by its number in the order of
appearance: equal ids stay equal. Times and versions are removed, and so are the few
fields with the official server's plan and address.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ID = re.compile(rf"{_UUID}|(?<![0-9a-f])[0-9a-f]{{32}}(?![0-9a-f])")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(\+00:00|Z)?")
_LEFT_OUT = {
    "__after_seconds__",
    "__request_start_time_ms__",
    "langgraph_api_url",
    "langgraph_api_version",
    "langgraph_host",
    "langgraph_plan",
    "langgraph_request_id",
    "langgraph_version",
    "lc_versions",
}


@dataclass(frozen=True)
class Event:
    name: str
    data: Any
    id: str | None = None


def recorded(name: str) -> dict[str, Any]:
    """A stream of the official server: the request, and the events, normalised."""
    text = (Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def parse(text: str) -> list[Event]:
    """The complete events of a stream; comments (heartbeats) are left out."""
    *blocks, _unfinished = text.replace("\r\n", "\n").split("\n\n")
    events = []
    for block in blocks:
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if ": " in line[1:]
        )
        if "event" in fields:
            data = json.loads(fields["data"]) if fields.get("data") else None
            events.append(Event(fields["event"], data, fields.get("id")))
    return events


def without_end(events: list[Event]) -> list[Event]:
    """The events without `end`, which the official server doesn't send.

    It saves the SDKs a request.
    """
    return [event for event in events if event.name != "end"]


def without(events: list[list[Any]], *keys: str) -> list[list[Any]]:
    """Normalised events, without these keys of their data."""
    return [
        [name, {key: value for key, value in data.items() if key not in keys}]
        for name, data in events
    ]


def normalised(events: list[Event]) -> list[list[Any]]:
    ids: dict[str, str] = {}

    def text(found: str) -> str:
        numbered = _ID.sub(
            lambda match: ids.setdefault(match[0], f"<id {len(ids) + 1}>"), found
        )
        return _TIME.sub("<time>", numbered)

    def value(found: Any) -> Any:
        if isinstance(found, dict):
            kept = {k: v for k, v in found.items() if k not in _LEFT_OUT}
            return {text(key): value(item) for key, item in sorted(kept.items())}
        if isinstance(found, list):
            return [value(item) for item in found]
        return text(found) if isinstance(found, str) else found

    return [[text(event.name), value(event.data)] for event in events]
