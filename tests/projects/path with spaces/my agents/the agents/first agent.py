from __future__ import annotations

from greetings import greeting
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph


def answer(state: MessagesState) -> MessagesState:
    return {"messages": [AIMessage(greeting())]}


graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
