from __future__ import annotations

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import MessagesState


def call_model(state: MessagesState, config: RunnableConfig) -> MessagesState:
    model = config["configurable"].get("model_name", "anthropic")
    return {"messages": [AIMessage(f"{model} here")]}
