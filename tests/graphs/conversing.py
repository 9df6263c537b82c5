"""Graphs for the protocols of other agents: files, structured data, private state."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from agents import chain
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

PAUSE_SECS = 0.05


class Conversation(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class Trip(Conversation):
    city: NotRequired[str]
    plan: NotRequired[dict[str, Any]]


class Hidden(Conversation):
    question: NotRequired[str]
    verdict: NotRequired[str]


class Verdict(TypedDict):
    verdict: str


def look(state: Conversation) -> dict[str, Any]:
    """Describe what was sent, and send a file back."""
    content = state["messages"][-1].content
    blocks = [content] if isinstance(content, str) else content
    said = " ".join(one if isinstance(one, str) else describe(one) for one in blocks)
    report = base64.b64encode(said.encode()).decode()
    file = {"type": "file", "base64": report, "mime_type": "text/plain"}
    named = {**file, "extras": {"filename": "report.txt"}}
    text = {"type": "text", "text": said}
    return {"messages": [AIMessage([text, named], id=str(uuid.uuid4()))]}


def describe(block: dict[str, Any]) -> str:
    if block["type"] == "text":
        return str(block["text"])
    held = base64.b64decode(block["base64"]).decode() if "base64" in block else ""
    named = block.get("extras", {}).get("filename", "")
    return f"{block['type']}:{named}:{held or block.get('url')}"


def travel(state: Trip) -> dict[str, Any]:
    plan = {"city": state.get("city"), "days": 3}
    said = f"To {state.get('city')}: {state['messages'][-1].content}"
    return {"messages": [AIMessage(said, id=str(uuid.uuid4()))], "plan": plan}


def confirm(state: Conversation) -> dict[str, Any]:
    """Ask a question in the middle of a conversation."""
    answer = interrupt("Are you sure?")
    return {"messages": [AIMessage(f"done: {answer}", id=str(uuid.uuid4()))]}


def begin(state: Conversation) -> dict[str, Any]:
    return {"messages": [AIMessage("I shall ask.", id=str(uuid.uuid4()))]}


class Slowly(SimpleChatModel):
    """Streams the number of words in the last message, with pauses between them."""

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        return str(messages[-1].content)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """The first word may name a file: it waits there until the file is gone."""
        first, *words = str(messages[-1].content).split()
        for word in (first, *words):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
            while word == words[0] and Path(first).exists():
                await asyncio.sleep(PAUSE_SECS)

    @property
    def _llm_type(self) -> str:
        return "slowly"


async def dictate(state: Conversation) -> dict[str, Any]:
    return {"messages": [await Slowly().ainvoke(state["messages"])]}


def judge(state: Hidden) -> dict[str, Any]:
    thought = AIMessage("between you and me", id=str(uuid.uuid4()))
    return {"messages": [thought], "verdict": f"guilty of {state.get('question')}"}


looking = chain(Conversation, ("look", look))
travelling = chain(Trip, ("travel", travel))
confirming = chain(Conversation, ("begin", begin), ("confirm", confirm))
dictating = chain(Conversation, ("dictate", dictate))
_judging = StateGraph(Hidden, output_schema=Verdict)
_judging.add_node("judge", judge)
_judging.add_edge(START, "judge")
_judging.add_edge("judge", END)
judging = _judging.compile()
