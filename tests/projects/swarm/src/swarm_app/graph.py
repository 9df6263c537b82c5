"""Two agents that hand over to each other; the last active one answers next."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import (
    FakeListChatModel,
    FakeMessagesListChatModel,
)
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command


class SwarmState(MessagesState):
    active_agent: NotRequired[str]


class Caller(FakeMessagesListChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Caller:
        return self


class Speaker(FakeListChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Speaker:
        return self


def handoff_to(agent: str) -> BaseTool:
    @tool(f"transfer_to_{agent}")
    def transfer(
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
    ) -> Command[Any]:
        """Hand the conversation over."""
        done = ToolMessage(f"to {agent}", tool_call_id=call_id)
        return Command(
            goto=agent,
            graph=Command.PARENT,
            update={"messages": [*state["messages"], done], "active_agent": agent},
        )

    return transfer


ask_bob = AIMessage(
    "", tool_calls=[{"name": "transfer_to_bob", "args": {}, "id": "call_bob"}]
)
alice = create_agent(Caller(responses=[ask_bob]), [handoff_to("bob")], name="alice")
bob = create_agent(
    Speaker(responses=["Ahoy, bob here."]), [handoff_to("alice")], name="bob"
)
app = (
    StateGraph(SwarmState)
    .add_node(alice, destinations=("bob",))
    .add_node(bob, destinations=("alice",))
    .add_conditional_edges(START, lambda s: s.get("active_agent", "alice"))
    .compile()
)
