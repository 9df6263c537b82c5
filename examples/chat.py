"""A chat that streams its answer token by token.

If SPOOL_MODEL is set (such as `openai:gpt-4.1-mini`, with that provider's key and
package), a real model answers; otherwise a fake model answers, and says so.
"""

import os

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph


def model_for(question: str) -> BaseChatModel:
    if name := os.environ.get("SPOOL_MODEL"):
        return init_chat_model(name)
    answer = (
        f"You said: {question} I am a fake model and need no key. "
        "Set SPOOL_MODEL to talk to a real one."
    )
    return GenericFakeChatModel(messages=iter([AIMessage(content=answer)]))


async def answer(state: MessagesState) -> dict:
    messages = state["messages"]
    return {"messages": [await model_for(messages[-1].text).ainvoke(messages)]}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_edge(START, "answer")
builder.add_edge("answer", END)
graph = builder.compile()
