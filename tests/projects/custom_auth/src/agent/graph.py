from __future__ import annotations

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph


def answer(state: MessagesState, config: RunnableConfig) -> MessagesState:
    user = config["configurable"]["langgraph_auth_user"]
    return {"messages": [AIMessage(f"Hello {user['identity']} of {user.plan}")]}


graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
