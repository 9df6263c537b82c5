"""Graphs that call a model, a tool, and another server, for tests of traces."""

from __future__ import annotations

import os
from typing import Any

from agents import chain
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import MessagesState
from langgraph.pregel.remote import RemoteGraph
from noted import Counted

URL = f"http://127.0.0.1:{os.environ.get('PORT', '8123')}"
# Created when the module is loaded, as in most projects.
echo = RemoteGraph("echo", url=URL)


@tool
async def look_up(word: str) -> str:
    """Look a word up in the other server."""
    answer = await echo.ainvoke({"messages": [{"role": "user", "content": word}]})
    return str(answer["messages"][-1]["content"])


async def think(state: MessagesState) -> dict[str, Any]:
    await Counted(messages=iter([])).ainvoke("what is secret?")
    call = {"name": "look_up", "args": {"word": "tea"}, "id": "call-1"}
    return {"messages": [AIMessage("", tool_calls=[call])]}


async def act(state: MessagesState) -> dict[str, Any]:
    last = state["messages"][-1]
    assert isinstance(last, AIMessage)
    answer = await look_up.ainvoke({**last.tool_calls[0], "type": "tool_call"})
    assert isinstance(answer, ToolMessage)
    return {"messages": [answer]}


def fail(state: MessagesState) -> dict[str, Any]:
    raise ValueError("no tea left")


traced = chain(
    MessagesState, ("inner", chain(MessagesState, ("think", think))), ("act", act)
)
failing = chain(MessagesState, ("think", think), ("fail", fail))
