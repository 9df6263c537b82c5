from __future__ import annotations

from langgraph.graph import START, MessagesState, StateGraph
from shared.models import model

from support_agent.prompts import PROMPT


async def answer(state: MessagesState) -> MessagesState:
    return {"messages": [await model.ainvoke([("system", PROMPT), *state["messages"]])]}


graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
