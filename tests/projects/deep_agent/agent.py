"""An agent that plans, asks another agent, and needs approval for one tool."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
)
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool


class Model(FakeMessagesListChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Model:
        return self


def calling(name: str, **args: Any) -> AIMessage:
    return AIMessage(
        "", tool_calls=[{"name": name, "args": args, "id": f"call_{name}"}]
    )


def todos(*states: str) -> list[dict[str, str]]:
    return [
        {"content": content, "status": status}
        for content, status in zip(("research", "publish"), states, strict=True)
    ]


@tool
def publish(text: str) -> str:
    """Publish a text. A human has to approve it."""
    return f"published: {text}"


@tool
async def research(topic: str) -> str:
    """Ask the researcher."""
    asked = {"messages": [{"role": "user", "content": topic}]}
    return str((await researcher.ainvoke(asked))["messages"][-1].text)


researcher = create_agent(
    Model(responses=[AIMessage("Whales sleep.")]), [], name="researcher"
)
agent = create_agent(
    Model(
        responses=[
            calling("write_todos", todos=todos("in_progress", "pending")),
            calling("research", topic="whales"),
            calling("write_todos", todos=todos("completed", "in_progress")),
            calling("publish", text="Whales sleep."),
            AIMessage("Done."),
        ]
    ),
    [research, publish],
    middleware=[
        TodoListMiddleware(),
        SummarizationMiddleware(
            model=Model(responses=[AIMessage("short")]), trigger=("messages", 100)
        ),
        HumanInTheLoopMiddleware(interrupt_on={"publish": True}),
    ],
    name="deep-agent",
)
