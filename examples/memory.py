"""Remembers facts about its user across threads.

"remember: I like tea" stores a fact; anything else is answered with all facts so far.
"""

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.store.base import BaseStore

NAMESPACE = ("memories",)


async def chat(state: MessagesState, *, store: BaseStore) -> dict:
    text = state["messages"][-1].text
    command, _, fact = text.partition("remember:")
    if fact and not command.strip():
        fact = fact.strip()
        await store.aput(NAMESPACE, fact.casefold(), {"fact": fact})
        answer = f"I will remember that: {fact}"
    else:
        items = await store.asearch(NAMESPACE, limit=100)
        facts = sorted(item.value["fact"] for item in items)
        answer = f"I know: {'; '.join(facts)}" if facts else "I know nothing yet."
    return {"messages": [AIMessage(answer)]}


builder = StateGraph(MessagesState)
builder.add_node(chat)
builder.add_edge(START, "chat")
builder.add_edge("chat", END)
graph = builder.compile()
