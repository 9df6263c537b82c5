from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore


@dataclass(kw_only=True)
class Context:
    user_id: str = "default"


async def call_model(
    state: MessagesState, runtime: Runtime[Context], *, store: BaseStore
) -> dict[str, Any]:
    last = state["messages"][-1].text
    place = ("memories", runtime.context.user_id)
    found = await store.asearch(place, query=last, limit=1)
    known = "; ".join(item.value["content"] for item in found)
    model = FakeListChatModel(responses=[f"You told me: {known or 'nothing'}"])
    return {"messages": [await model.ainvoke(state["messages"])]}


async def store_memory(
    state: MessagesState, runtime: Runtime[Context], *, store: BaseStore
) -> None:
    said = state["messages"][-2].text
    place = ("memories", runtime.context.user_id)
    if said.startswith("I "):
        await store.aput(place, str(uuid.uuid4()), {"content": said})


graph = (
    StateGraph(MessagesState, context_schema=Context)
    .add_node(call_model)
    .add_node(store_memory)
    .add_edge(START, "call_model")
    .add_edge("call_model", "store_memory")
    .compile(name="MemoryAgent")
)
