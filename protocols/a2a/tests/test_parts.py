"""Parts of A2A and content of LangChain, there and back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from a2a.types.a2a_pb2 import Part
from google.protobuf.json_format import MessageToDict, ParseDict

from spool.protocols.a2a.parts import (
    answer_of,
    content_of,
    data_part,
    message_of,
    parts_of,
    text_of,
)

PNG = base64.b64encode(b"png").decode()


def parts(*given: Any) -> list[Part]:
    return [ParseDict(one, Part()) for one in given]


@pytest.mark.parametrize(
    ("given", "content"),
    [
        ([{"text": "a"}], "a"),
        ([{"text": "a"}, {"text": "b"}], "a\nb"),
        ([{"data": {"n": 1}}], '{"n": 1}'),
        (
            [{"raw": PNG, "mediaType": "image/png"}],
            [{"type": "image", "base64": PNG, "mime_type": "image/png"}],
        ),
        (
            [{"url": "https://x/a.mp3", "mediaType": "audio/mpeg", "filename": "a"}],
            [
                {
                    "type": "audio",
                    "url": "https://x/a.mp3",
                    "mime_type": "audio/mpeg",
                    "extras": {"filename": "a"},
                }
            ],
        ),
        ([{"url": "https://x/"}], [{"type": "file", "url": "https://x/"}]),
    ],
)
def test_what_a_graph_is_given(given: list[Any], content: Any) -> None:
    assert content_of(parts(*given)) == content


@pytest.mark.parametrize(
    "given", [{"approved": True, "n": 2, "x": 1.5}, [1, "a", None], 3, "yes"]
)
def test_data_is_an_answer_as_it_is(given: Any) -> None:
    answer = answer_of(parts({"data": given}))

    assert json.dumps(answer, sort_keys=True) == json.dumps(given, sort_keys=True)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("", []),
        ("a", [{"text": "a", "mediaType": "text/plain"}]),
        ([{"type": "reasoning", "reasoning": "hm"}, {"type": "tool_use"}], []),
        (
            ["a", {"type": "text", "text": ""}],
            [{"text": "a", "mediaType": "text/plain"}],
        ),
        (
            [
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{PNG}"},
                }
            ],
            [{"raw": PNG, "mediaType": "image/png"}],
        ),
        (
            [{"type": "image_url", "image_url": "https://x/a.png"}],
            [{"url": "https://x/a.png"}],
        ),
        (
            [{"type": "file", "base64": PNG, "extras": {"filename": "f"}}],
            [{"raw": PNG, "filename": "f"}],
        ),
        ([{"type": "file", "base64": "no base64 at all!"}, 3, None], []),
    ],
)
def test_what_a_client_is_shown(content: Any, shown: list[Any]) -> None:
    assert [MessageToDict(part) for part in parts_of(content)] == shown


def test_tools_and_the_system_do_not_speak() -> None:
    for kind in ("tool", "system", "remove"):
        assert message_of({"type": kind, "content": "secret", "id": "1"}) is None


def test_pieces_of_text_are_put_together() -> None:
    assert text_of([{"type": "text", "text": "a"}, "b", {"type": "tool_use"}]) == "ab"


def test_data_too_deep_for_protobuf_is_a_text() -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]

    assert data_part(deep).text == "[" * 150 + "1" + "]" * 150
