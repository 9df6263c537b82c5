"""A graph that calls a tool of another server, with `langchain-mcp-adapters`."""

from __future__ import annotations

import os
from typing import Any, TypedDict

from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    text: str
    tools: list[str]
    answer: Any


async def ask(state: State) -> dict[str, Any]:
    server = {"url": os.environ["OTHER_SPOOL"], "transport": "streamable_http"}
    client = MultiServerMCPClient({"other": server})
    tools = {tool.name: tool for tool in await client.get_tools()}
    arguments = {"messages": state["text"]}
    call = {"type": "tool_call", "id": "1", "name": "echo", "args": arguments}
    message = await tools["echo"].ainvoke(call)
    return {"tools": sorted(tools), "answer": message.artifact}


builder = StateGraph(State)
builder.add_node("ask", ask)
builder.add_edge(START, "ask")
builder.add_edge("ask", END)
graph = builder.compile()
