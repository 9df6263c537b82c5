"""Agents of `langchain.agents.create_agent`, with additional state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, NotRequired

from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool


class Scripted(BaseChatModel):
    """Answers with its lines, one for each call in a conversation."""

    lines: list[AIMessage]
    # Seconds until the first word, like a real model. Meanwhile, clients add channels
    # to their streams, and request events since the last one that they have seen.
    latency: float = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Scripted:
        return self

    def _generate(
        self, messages: list[BaseMessage], *args: Any, **_: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._line(messages))])

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **_: Any
    ) -> Iterator[ChatGenerationChunk]:
        time.sleep(self.latency)
        line = self._line(messages)
        calls = [
            {
                "name": c["name"],
                "args": json.dumps(c["args"]),
                "id": c["id"],
                "index": n,
            }
            for n, c in enumerate(line.tool_calls)
        ]
        for word in line.text.split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))
        for call in calls:
            chunk: Any = {**call, "type": "tool_call_chunk"}
            message = AIMessageChunk("", tool_call_chunks=[chunk])
            yield ChatGenerationChunk(message=message)

    def _line(self, messages: list[BaseMessage]) -> AIMessage:
        said = 0
        for message in messages:
            said = 0 if message.type == "human" else said + (message.type == "ai")
        line = self.lines[min(said, len(self.lines) - 1)]
        return line.model_copy(update={"id": None})


def calling(name: str, call_id: str, **args: Any) -> AIMessage:
    call = {"name": name, "args": args, "id": call_id, "type": "tool_call"}
    return AIMessage(f"calling {name}", tool_calls=[call])


def scripted(*lines: AIMessage, latency: float = 0) -> Scripted:
    return Scripted(lines=list(lines), latency=latency)


class Secret(AgentState[Any]):
    secret: NotRequired[Annotated[str, PrivateStateAttr]]


class KeepsSecret(AgentMiddleware[Any, Any]):
    state_schema = Secret

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        return {"secret": "only the graph knows"}


@tool
def weather(city: str) -> str:
    """What the weather is."""
    return f"sunny in {city}"


agent = create_agent(
    scripted(calling("weather", "call_1", city="Oslo"), AIMessage("It is sunny.")),
    [weather],
    middleware=[KeepsSecret()],
    name="forecaster",
)


@tool
async def research(topic: str) -> str:
    """Ask the researcher."""
    result = await researcher.ainvoke(
        {"messages": [{"role": "user", "content": topic}]}
    )
    return str(result["messages"][-1].text)


researcher = create_agent(
    scripted(calling("weather", "call_9", city="Rome"), AIMessage("Rome is sunny.")),
    [weather],
    name="researcher",
)
deep = create_agent(
    scripted(calling("research", "call_1", topic="Rome"), AIMessage("Done.")),
    [research],
    name="deep",
)
