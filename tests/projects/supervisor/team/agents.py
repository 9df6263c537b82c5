from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage


class Model(FakeMessagesListChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Model:
        return self


def saying(*lines: AIMessage | str) -> Model:
    return Model(
        responses=[AIMessage(one) if isinstance(one, str) else one for one in lines]
    )


def calling(name: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": {}, "id": f"to_{name}"}])
