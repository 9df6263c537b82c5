"""A run's events as updates of its task."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from google.protobuf.json_format import MessageToDict

from spool.database.json import dumps
from spool.protocols.a2a.tasks import TaskRef
from spool.protocols.a2a.updates import Translator
from spool.runs.streaming.events import METADATA, Event

REF = TaskRef(UUID(int=1), UUID(int=2))


def chunk(text: str, **more: Any) -> tuple[str, Any]:
    message = {"type": "AIMessageChunk", "id": "m", "content": text, **more}
    return "messages", [message, {}]


def translated(*events: tuple[str, Any], streams: bool = True) -> list[tuple[Any, ...]]:
    translator = Translator(REF, streams=streams)
    found = []
    for name, data in events:
        event = Event(str(REF.first_run_id), (1, 1), name, dumps(data))
        for update in translator.translate(event):
            shown = MessageToDict(update)
            artifact = shown.get("artifact")
            found.append(
                (artifact["parts"][0].get("text"), shown.get("append", False))
                if artifact
                else (shown["status"]["state"],)
            )
    return found


def test_tokens_are_appended() -> None:
    last = {"chunk_position": "last"}

    assert translated(chunk("a"), chunk("b"), chunk("", **last)) == [
        ("a", False),
        ("b", True),
        ("", True),
    ]


def test_another_attempt_takes_back_what_was_left_unfinished() -> None:
    begun = (METADATA, {"attempt": 1})

    updates = translated(begun, chunk("half an ans"), begun, chunk("whole", id="n"))

    working = ("TASK_STATE_WORKING",)
    assert updates == [
        working,
        ("half an ans", False),
        ("", False),
        working,
        ("whole", False),
    ]


def test_a_message_is_shown_once() -> None:
    whole = {"type": "ai", "id": "m", "content": "ab"}

    assert translated(chunk("a"), chunk("b"), ("messages", [whole, {}])) == [
        ("a", False),
        ("b", True),
    ]
    assert translated(("messages", [whole, {}])) == [("ab", False)]


def test_calls_of_tools_and_what_is_private_are_not_shown() -> None:
    call = {"type": "ai", "id": "m", "content": "", "tool_calls": [{"name": "t"}]}
    tool = {"type": "tool", "id": "t", "content": "secret"}

    assert translated(("messages", [call, {}]), ("messages", [tool, {}])) == []
    assert translated(chunk("between us"), streams=False) == []
    assert translated(("gap", {"from": "1-1", "to": "1-2"}), ("custom", 1)) == []
