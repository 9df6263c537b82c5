"""A thread's messages as a conversation, for reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from spool.console.markup import as_text
from spool.console.redaction import redacted

# Only the last messages are shown, and of each only the beginning.
MAX_MESSAGES = 50
MAX_MESSAGE_LENGTH = 10_000
MAX_IMAGE_LENGTH = 2_000_000

# HTML of a message is shown as text. Images of other hosts are not loaded.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: SafeString


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    name: str
    parts: list[SafeString]
    tool_calls: list[ToolCall] = field(default_factory=list)
    # "success" or "error" for a tool's result, else empty.
    outcome: str = ""

    @property
    def is_result(self) -> bool:
        return self.role == "tool"


@dataclass(frozen=True, slots=True)
class Conversation:
    messages: list[Message]
    # How many earlier messages are left out.
    earlier: int


def conversation_of(values: Any, *, hides_secrets: bool = False) -> Conversation | None:
    """The conversation in a state's values, or None if they have no messages."""
    found = _messages_in(values)
    if found is None:
        return None
    shown = found[-MAX_MESSAGES:]
    if hides_secrets:
        shown = redacted(shown)
    messages = [_message(message) for message in shown]
    return Conversation(messages, len(found) - len(shown))


def _messages_in(values: Any) -> list[dict[str, Any]] | None:
    if not isinstance(values, dict):
        return None
    named = [values["messages"]] if "messages" in values else []
    for value in [*named, *values.values()]:
        if isinstance(value, list) and value and all(map(_is_message, value)):
            return value
    return None


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "content" in value and bool(_role(value))


def _role(message: dict[str, Any]) -> str:
    role = str(message.get("role") or message.get("type") or "")
    return _ROLES.get(role, role)


def _message(message: dict[str, Any]) -> Message:
    calls = message.get("tool_calls")
    return Message(
        role=_role(message),
        name=str(message.get("name") or ""),
        parts=list(_parts(message["content"])),
        tool_calls=[
            ToolCall(str(call.get("name")), as_text(call.get("args")))
            for call in (calls if isinstance(calls, list) else [])
            if isinstance(call, dict)
        ],
        outcome=str(message.get("status") or ""),
    )


def _parts(content: Any) -> Iterator[SafeString]:
    """The blocks of a message's content as HTML."""
    for block in content if isinstance(content, list) else [content]:
        if isinstance(block, str):
            if block:
                yield _text(block)
        elif isinstance(block, dict) and isinstance(block.get("text"), str):
            yield _text(block["text"])
        elif isinstance(block, dict) and (source := _image(block)):
            yield format_html('<img alt="An image of the message" src="{}">', source)
        elif not isinstance(block, dict) or block.get("type") != "tool_use":
            yield as_text(block)


def _text(text: str) -> SafeString:
    if len(text) > MAX_MESSAGE_LENGTH:
        text = f"{text[:MAX_MESSAGE_LENGTH]} … ({len(text)} characters in all)"
    html: SafeString = mark_safe(_MARKDOWN.render(text))  # noqa: S308 - it is escaped
    return html


def _image(block: dict[str, Any]) -> str | None:
    """The `data:` URL of a block with an image, in any format of LangChain; or ""."""
    url = block.get("image_url") or block.get("url")
    if isinstance(url, dict):
        url = url.get("url")
    data = block.get("base64") or block.get("data")
    if block.get("type") == "image" and isinstance(data, str):
        url = f"data:{block.get('mime_type') or 'image/png'};base64,{data}"
    if isinstance(url, str) and url.startswith("data:image/"):
        return url if len(url) <= MAX_IMAGE_LENGTH else None
    return None
