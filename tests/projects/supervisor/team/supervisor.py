"""A supervisor that hands tasks over to agents, which return to it."""

from __future__ import annotations

from typing import Annotated, Any

from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command

from team.agents import calling, saying


def handoff(agent: str) -> BaseTool:
    @tool(f"transfer_to_{agent}")
    def transfer(
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
    ) -> Command[Any]:
        """Hand the conversation over."""
        done = ToolMessage(f"handed over to {agent}", tool_call_id=call_id)
        update = {"messages": [*state["messages"], done]}
        return Command(goto=agent, update=update, graph=Command.PARENT)

    return transfer


def make_graph(config: RunnableConfig) -> Any:
    to_math, to_writer = handoff("math"), handoff("writer")
    supervisor = create_agent(
        saying(calling(to_math.name), calling(to_writer.name), "All is done."),
        [to_math, to_writer],
        name="supervisor",
    )
    return (
        StateGraph(MessagesState)
        .add_node(supervisor, destinations=("math", "writer"))
        .add_node(create_agent(saying("6 * 7 = 42"), [], name="math"))
        .add_node(create_agent(saying("Forty-two."), [], name="writer"))
        .add_edge(START, "supervisor")
        .add_edge("math", "supervisor")
        .add_edge("writer", "supervisor")
        .compile()
    )
