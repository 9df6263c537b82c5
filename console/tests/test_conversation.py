from __future__ import annotations

from typing import Any

import pytest

from spool.console import conversation as module
from spool.console.conversation import conversation_of
from spool.console.trees import tree


def said(*messages: dict[str, Any], key: str = "messages") -> Any:
    return conversation_of({"topic": "x", key: list(messages)})


def test_roles_markdown_and_tool_calls() -> None:
    shown = said(
        {"type": "human", "content": "Hello **there** <script>x</script>"},
        {
            "type": "ai",
            "content": "",
            "tool_calls": [{"name": "find", "args": {"q": 1}}],
        },
        {"type": "tool", "name": "find", "content": "none", "status": "error"},
    )

    assert [message.role for message in shown.messages] == ["user", "assistant", "tool"]
    assert "<strong>there</strong>" in shown.messages[0].parts[0]
    assert "<script>" not in shown.messages[0].parts[0]
    assert shown.messages[1].tool_calls[0].name == "find"
    assert "&quot;q&quot;: 1" in shown.messages[1].tool_calls[0].arguments
    assert (shown.messages[2].is_result, shown.messages[2].outcome) == (True, "error")


def test_blocks_of_content() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    remote = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    shown = said(
        {"role": "user", "content": [{"type": "text", "text": "see"}, image, remote]}
    )

    text, inline, other = shown.messages[0].parts
    assert "see" in text
    assert 'src="data:image/png;base64,AAAA"' in inline
    assert "<img" not in other
    assert "https://example.com/x.png" in other


@pytest.mark.parametrize(
    "text", ["[x](javascript:alert(1))", "![x](https://example.com/x.png)"]
)
def test_markdown_runs_nothing_and_loads_nothing(text: str) -> None:
    part = said({"type": "ai", "content": text}).messages[0].parts[0]

    assert 'href="javascript' not in part
    assert "<img" not in part


def test_messages_of_any_channel_are_found() -> None:
    assert said({"type": "human", "content": "x"}, key="chat")
    assert conversation_of({"topic": "x", "items": [1, 2]}) is None
    assert conversation_of({"messages": []}) is None
    assert conversation_of("text") is None


def test_long_conversations_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MESSAGE_LENGTH", 100)
    many = [{"type": "human", "content": "y" * 500} for _ in range(60)]

    shown = said(*many)

    assert (len(shown.messages), shown.earlier) == (50, 10)
    assert "(500 characters in all)" in shown.messages[0].parts[0]


def test_a_tree_is_bounded() -> None:
    wide = tree({"rows": list(range(5000)), "text": "z" * 9000})
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}

    assert wide.count("<li>") < 2010
    assert "more" in wide
    assert "(9000 characters)" in tree("z" * 9000)
    assert tree(deep).count("<details") <= 13
    assert "<code>null</code>" in tree({"x": None})
    assert "&lt;i&gt;" in tree({"<i>": "<i>"})
