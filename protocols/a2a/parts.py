"""Convert A2A's parts and messages to those of LangGraph, and back.

A text part becomes text; a file or a part with data becomes a content block of a
message, as LangChain 1 defines them. Of a graph's message, clients see only what is
meant for people: neither reasoning nor tool calls.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from a2a.types.a2a_pb2 import Message, Part, Role
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from spool.database.json import dumps, loads

# The kinds of content blocks that hold a file; the file's media type begins with one.
KINDS = ("image", "audio", "video")
ROLES = {
    "human": Role.ROLE_USER,
    "user": Role.ROLE_USER,
    "ai": Role.ROLE_AGENT,
    "assistant": Role.ROLE_AGENT,
}
# The key of a run's metadata for the id that the client gave the run's message.
SENT_ID = "a2a_message_id"


# --- From clients to graphs ----------------------------------------------------------
def content_of(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    """The content of a graph's message: a string if all parts are text, else blocks."""
    blocks = [_block(part) for part in parts]
    if all(block["type"] == "text" for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return blocks


def answer_of(parts: Sequence[Part]) -> Any:
    """The answer to an interrupt: the data of a single data part, else the content."""
    if len(parts) == 1 and parts[0].HasField("data"):
        return data_of(parts[0])
    return content_of(parts)


def data_of(part: Part) -> Any:
    """A part's data. Protobuf sends all numbers as doubles: whole ones become `int`."""
    return _whole_numbers(MessageToDict(part.data))


def _block(part: Part) -> dict[str, Any]:
    kind = part.WhichOneof("content")
    if kind == "text":
        return {"type": "text", "text": part.text}
    if kind == "data":
        text = json.dumps(data_of(part), ensure_ascii=False)
        return {"type": "text", "text": text}
    block: dict[str, Any] = {"type": _kind_of(part.media_type)}
    if kind == "raw":
        block["base64"] = base64.b64encode(part.raw).decode()
    else:
        block["url"] = part.url
    if part.media_type:
        block["mime_type"] = part.media_type
    if part.filename:
        block["extras"] = {"filename": part.filename}
    return block


def _kind_of(media_type: str) -> str:
    kind = media_type.partition("/")[0].lower()
    return kind if kind in KINDS else "file"


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value


# --- From graphs to clients ----------------------------------------------------------
def data_part(value: Any) -> Part:
    """A part with any JSON; as text if it is nested too deeply for protobuf."""
    plain = loads(dumps(value))
    try:
        part = Part(media_type="application/json")
        ParseDict(plain, part.data)
        return part
    except ParseError:
        return text_part(json.dumps(plain, ensure_ascii=False))


def text_part(text: str) -> Part:
    return Part(text=text, media_type="text/plain")


def value_part(value: Any) -> Part:
    """A text part for a string, a data part for any other value."""
    return text_part(value) if isinstance(value, str) else data_part(value)


def parts_of(content: Any) -> list[Part]:
    """The parts of a message's content; empty if none of it is meant for people."""
    if isinstance(content, str):
        return [text_part(content)] if content else []
    blocks = content if isinstance(content, list) else []
    return [part for block in blocks if (part := _part(block)) is not None]


def text_of(content: Any) -> str:
    """Only the text of a message's content, for streaming."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "".join(part.text for block in blocks if (part := _part(block)) is not None)


def message_of(message: Mapping[str, Any], **ids: str) -> Message | None:
    """Convert a message of a graph's state; None if clients don't see it.

    They see no messages of tools or of the system, and none without content.
    """
    role = ROLES.get(str(message.get("type") or message.get("role")))
    parts = parts_of(message.get("content"))
    if role is None or not parts:
        return None
    return Message(message_id=str(message.get("id")), role=role, parts=parts, **ids)


def _part(block: Any) -> Part | None:
    if isinstance(block, str):
        return text_part(block) if block else None
    if not isinstance(block, dict):
        return None
    kind = block.get("type")
    if kind in ("text", "output_text"):
        text = block.get("text")
        return text_part(text) if isinstance(text, str) and text else None
    if kind == "image_url":
        return _linked(block.get("image_url"))
    if kind in (*KINDS, "file"):
        return _file_part(block)
    return None


def _linked(image: Any) -> Part | None:
    """A part for OpenAI's older format: a URL, possibly a data URL with the image."""
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        return None
    head, comma, data = url.partition(",")
    if head.startswith("data:") and comma and head.endswith(";base64"):
        media_type = head.removeprefix("data:").removesuffix(";base64")
        return _raw_part(data, media_type, "")
    return Part(url=url)


def _file_part(block: Mapping[str, Any]) -> Part | None:
    media_type = str(block.get("mime_type") or "")
    extras = block.get("extras")
    named = extras if isinstance(extras, dict) else block
    filename = str(named.get("filename") or "")
    if isinstance(data := block.get("base64"), str):
        return _raw_part(data, media_type, filename)
    if isinstance(url := block.get("url"), str):
        return Part(url=url, media_type=media_type, filename=filename)
    return None


def _raw_part(data: str, media_type: str, filename: str) -> Part | None:
    try:
        raw = base64.b64decode(data)
    except binascii.Error:
        return None
    return Part(raw=raw, media_type=media_type, filename=filename)
