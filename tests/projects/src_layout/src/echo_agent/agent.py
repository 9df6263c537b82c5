from __future__ import annotations

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from . import PREFIX
from .sub.text import repeated


def say(state: MessagesState) -> MessagesState:
    text = f"{PREFIX}: {repeated(state['messages'][-1].text)}"
    return {"messages": [AIMessage(text)]}


build = StateGraph(MessagesState).add_node(say).add_edge(START, "say")
