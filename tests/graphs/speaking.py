"""Agents for event streaming: parallel models, private state, delegation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

from agents import Messages
from agents_with_tools import KeepsSecret, calling, scripted, weather
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, TodoListMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph


# --- Two models at once ---------------------------------------------------------------
class Slow(GenericFakeChatModel):
    """A model that pauses between words, so that those of others come in between."""

    async def _astream(
        self, *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in super()._stream(*args, **kwargs):
            yield chunk
            await asyncio.sleep(0.01)


def speaker(text: str) -> Any:
    async def speak(state: Messages, config: RunnableConfig) -> dict[str, Any]:
        model = Slow(messages=iter([AIMessage(text)]))
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    return speak


def _choir() -> Any:
    graph = StateGraph(Messages)
    for name, text in (("high", "la la la la"), ("low", "do do do do")):
        graph.add_node(name, speaker(text))
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph.compile()


choir = _choir()


# --- A subgraph with private state ------------------------------------------------------
class Public(TypedDict, total=False):
    topic: str
    log: Annotated[list[str], lambda old, new: [*old, *new]]


class Hidden(Public, total=False):
    secret: str


def hide(state: Hidden) -> dict[str, Any]:
    return {"secret": "only the child knows", "log": ["hidden"]}


def use(state: Hidden) -> dict[str, Any]:
    return {"log": [f"used {len(state['secret'])}"]}


def _discreet() -> Any:
    child = StateGraph(Hidden, input_schema=Public, output_schema=Public)
    child.add_node("hide", hide)
    child.add_node("use", use)
    child.add_edge(START, "hide")
    child.add_edge("hide", "use")
    child.add_edge("use", END)
    graph = StateGraph(Public)
    graph.add_node("child", child.compile())
    graph.add_edge(START, "child")
    graph.add_edge("child", END)
    return graph.compile()


discreet = _discreet()

# --- An agent that plans, delegates and asks --------------------------------------------
helper = create_agent(
    scripted(
        calling("weather", "call_7", city="Rome"),
        AIMessage("Rome is sunny."),
        latency=0.4,
    ),
    [weather],
    middleware=[KeepsSecret()],
    name="helper",
)


@tool
async def task(description: str) -> str:
    """Give a task to a helper."""
    asked = {"messages": [{"role": "user", "content": description}]}
    result = await helper.ainvoke(asked)
    return str(result["messages"][-1].text)


@tool
def send(text: str) -> str:
    """Send a message to the user's friends."""
    return f"sent: {text}"


TODO = {"content": "Find out about Rome", "status": "in_progress"}
planner = create_agent(
    scripted(
        calling("write_todos", "call_1", todos=[TODO]),
        calling("task", "call_2", description="How is Rome?"),
        calling("send", "call_3", text="Rome is sunny."),
        AIMessage("All is done."),
        latency=0.4,
    ),
    [task, send],
    middleware=[
        TodoListMiddleware(),
        HumanInTheLoopMiddleware(interrupt_on={"send": True}),
    ],
    name="planner",
)
