"""A graph that streams the number of words in the last message, from a fake model."""

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph


async def speak(state: MessagesState) -> dict:
    count = int(state["messages"][-1].content)
    words = AIMessage(" ".join(f"w{number}" for number in range(count)))
    model = GenericFakeChatModel(messages=iter([words]))
    return {"messages": [await model.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("speak", speak)
builder.add_edge(START, "speak")
builder.add_edge("speak", END)
graph = builder.compile()
