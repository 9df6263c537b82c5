"""An e-mail that is sent only after a human has read it.

Stops at `interrupt()`; resume with `{"approved": true}`, or with
`{"approved": false, "feedback": "shorter"}` for another draft.
"""

from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict


class Email(TypedDict, total=False):
    topic: str
    draft: str
    feedback: str
    revision: int
    sent: bool


def write(state: Email) -> Email:
    revision = state.get("revision", 0) + 1
    draft = f"Dear customer, this is about {state['topic']}."
    if state.get("feedback"):
        draft += f" (Reworked: {state['feedback']}.)"
    return {"draft": draft, "revision": revision}


def review(state: Email) -> Command[Literal["send", "write"]]:
    answer = interrupt({"question": "Send this e-mail?", "draft": state["draft"]})
    if answer.get("approved"):
        return Command(goto="send")
    return Command(goto="write", update={"feedback": answer.get("feedback", "again")})


def send(state: Email) -> Email:
    return {"sent": True}


builder = StateGraph(Email)
builder.add_node(write)
builder.add_node(review)
builder.add_node(send)
builder.add_edge(START, "write")
builder.add_edge("write", "review")
builder.add_edge("send", END)
graph = builder.compile()
