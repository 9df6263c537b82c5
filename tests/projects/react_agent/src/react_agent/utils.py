from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage


class Model(FakeMessagesListChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Model:
        return self


def load_chat_model(name: str, messages: list[BaseMessage]) -> Model:
    """A model that calls the tool first, and then says what it answered."""
    last = messages[-1]
    if isinstance(last, ToolMessage):
        answer = AIMessage(f"{name} says {last.content}")
    else:
        call = {"name": "multiply", "args": {"a": 6, "b": 7}, "id": "call_1"}
        answer = AIMessage("", tool_calls=[call])
    return Model(responses=[answer])
