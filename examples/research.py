"""Searches several sources in parallel; a subgraph writes the report.

Shows parallel branches (`Send`), a subgraph, and progress as custom events.
"""

import operator
from typing import Annotated

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

SOURCES = ("library", "archive", "web")


class Research(TypedDict, total=False):
    question: str
    findings: Annotated[list[str], operator.add]
    report: str


class Search(TypedDict):
    question: str
    source: str


def plan(state: Research) -> list[Send]:
    question = state["question"]
    return [Send("search", {"question": question, "source": s}) for s in SOURCES]


async def search(task: Search) -> Research:
    get_stream_writer()({"searching": task["source"]})
    return {"findings": [f"{task['source']}: notes on {task['question']}"]}


def outline(state: Research) -> Research:
    get_stream_writer()({"writing": "outline"})
    return {"report": f"# {state['question']}"}


def fill_in(state: Research) -> Research:
    get_stream_writer()({"writing": "report"})
    lines = sorted(state["findings"])
    return {"report": "\n".join([state["report"], *(f"- {line}" for line in lines)])}


class Writing(TypedDict, total=False):
    question: str
    findings: Annotated[list[str], operator.add]
    report: str


class Report(TypedDict, total=False):
    report: str


writer = StateGraph(Writing, output_schema=Report)
writer.add_node(outline)
writer.add_node(fill_in)
writer.add_edge(START, "outline")
writer.add_edge("outline", "fill_in")
writer.add_edge("fill_in", END)

builder = StateGraph(Research)
builder.add_node(search)
builder.add_node("write", writer.compile())
builder.add_conditional_edges(START, plan, ["search"])
builder.add_edge("search", "write")
builder.add_edge("write", END)
graph = builder.compile()
