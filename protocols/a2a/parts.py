"""Convert A2A's parts and messages to those of LangGraph, and back.

A text part is a text; a file or a part with data is a content block of a message, as
LangChain 1 defines them. Of a message that a graph made, what is meant for people is
shown: no reasoning, and no calls of tools.
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

# The kinds of content blocks that hold a file, by what its media type begins with.
KINDS = ("image", "audio", "video")
ROLES = {
    "human": Role.ROLE_USER,
    "user": Role.ROLE_USER,
    "ai": Role.ROLE_AGENT,
    "assistant": Role.ROLE_AGENT,
}
# Where a run's metadata has the id that its client gave the message it was made for.
SENT_ID = "a2a_message_id"


# --- From clients to graphs ----------------------------------------------------------
def content_of(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    """The content of the message that a graph gets: a text where there is nothing else."""
    blocks = [_block(part) for part in parts]
    if all(block["type"] == "text" for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return blocks


def answer_of(parts: Sequence[Part]) -> Any:
    """The answer to an interrupt: the data of a single part, else the content."""
    if len(parts) == 1 and parts[0].HasField("data"):
        return data_of(parts[0])
    return content_of(parts)


def data_of(part: Part) -> Any:
    """A part's data. Its numbers travel as doubles: those that are whole are integers."""
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
    """Any JSON; as a text where it is nested deeper than protobuf can be."""
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
    """A text as such, anything else as data."""
    return text_part(value) if isinstance(value, str) else data_part(value)


def parts_of(content: Any) -> list[Part]:
    """The parts of a message's content; none where nothing of it is for people."""
    if isinstance(content, str):
        return [text_part(content)] if content else []
    blocks = content if isinstance(content, list) else []
    return [part for block in blocks if (part := _part(block)) is not None]


def text_of(content: Any) -> str:
    """The text alone, as it is streamed."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "".join(part.text for block in blocks if (part := _part(block)) is not None)


def message_of(message: Mapping[str, Any], **ids: str) -> Message | None:
    """A message of a graph's state. None: of a tool, of the system, or without content."""
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
    """OpenAI's older form: a URL, which may hold the image itself."""
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
