"""The graphs that the live tests drive.

Graphs for replaying recordings are like the recorded ones: node names, state keys and
texts are part of the recordings.
"""

from __future__ import annotations

import asyncio
import operator
import uuid
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy, interrupt
from pydantic import BaseModel


def chain(state: type, *nodes: tuple[str, Any], context: type | None = None) -> Any:
    """A compiled graph of nodes one after another."""
    graph = StateGraph(state, context_schema=context)
    before = START
    for name, node in nodes:
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph.compile()


class Messages(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


# --- Messages -------------------------------------------------------------------
def answer(state: Messages) -> dict[str, Any]:
    text = state["messages"][-1].content if state["messages"] else ""
    return {"messages": [AIMessage(f"echo: {text}", id=str(uuid.uuid4()))]}


async def speak(state: Messages, config: RunnableConfig) -> dict[str, Any]:
    words = iter([AIMessage("hello brave new world")])
    model = GenericFakeChatModel(messages=words)
    return {"messages": [await model.ainvoke(state["messages"], config)]}


echo = chain(Messages, ("echo", answer))
chat = chain(Messages, ("model", speak))
subchat = chain(Messages, ("sub", chain(Messages, ("model", speak))))


# --- Interrupts -----------------------------------------------------------------
class Approval(TypedDict, total=False):
    topic: str
    answer: str
    log: Annotated[list[str], operator.add]


def ask(state: Approval) -> dict[str, Any]:
    said = interrupt({"question": "approve?", "topic": state.get("topic")})
    return {"answer": str(said), "log": ["ask"]}


human = chain(Approval, ("ask", ask), ("fin", lambda state: {"log": ["fin"]}))


def _two_questions() -> Any:
    graph = StateGraph(Log)
    for node, question in (("pa", "qa"), ("pb", "qb")):
        graph.add_node(node, _asks(node[1], question))
        graph.add_edge(START, node)
        graph.add_edge(node, END)
    return graph.compile()


def _asks(letter: str, question: str) -> Any:
    return lambda state: {"log": [f"{letter}:{interrupt(question)}"]}


par = _two_questions()


# --- Steps that take their time ---------------------------------------------------
class Slow(TypedDict, total=False):
    n: int
    delay: float
    log: Annotated[list[str], operator.add]


def _slow_step(number: int) -> Any:
    async def step(state: Slow) -> dict[str, Any]:
        get_stream_writer()({"step": number})
        await asyncio.sleep(state.get("delay", 1.0))
        return {"log": [f"step{number}"]}

    return step


slow = chain(Slow, *[(f"s{number}", _slow_step(number)) for number in range(1, 6)])


# --- The functional API -------------------------------------------------------------
@task
async def double(number: int) -> int:
    get_stream_writer()({"doubling": number})
    model = GenericFakeChatModel(messages=iter([AIMessage("so be it")]))
    await model.ainvoke("well?")
    return 2 * number


@entrypoint()
async def functional(number: int, *, previous: int | None = None) -> int:
    found = await double(number)
    if number == 0:
        found = interrupt("which?")
    return found + (previous or 0)


# --- Failure ----------------------------------------------------------------------
class Word(TypedDict, total=False):
    x: str


def boom(state: Word) -> dict[str, Any]:
    raise ValueError("boom happened")


raises = chain(Word, ("ok", lambda state: {"x": "ok"}), ("boom", boom))


class Number(BaseModel):
    n: int = 0


def _two_at_once() -> Any:
    """Two nodes that write a key which only one may write in a step."""
    graph = StateGraph(Word)
    for node in ("left", "right"):
        graph.add_node(node, lambda state: {"x": "mine"})
        graph.add_edge(START, node)
    return graph.compile()


clash = _two_at_once()


async def take_long(state: Log) -> dict[str, Any]:
    await asyncio.sleep(60)
    return {"log": ["long"]}


def _one_of_two_fails() -> Any:
    graph = StateGraph(Log)
    graph.add_node("first", lambda state: {"log": ["first"]})
    graph.add_edge(START, "first")
    for name, node in (("long", take_long), ("boom", boom)):
        graph.add_node(name, node)
        graph.add_edge("first", name)
    return graph.compile()


beside = _one_of_two_fails()


class Unsteady:
    """Fails twice, and then succeeds."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, state: Log) -> dict[str, Any]:
        self.calls += 1
        if self.calls % 3:
            raise ConnectionError("try again")
        return {"log": ["steady"]}


def _tried_again() -> Any:
    graph = StateGraph(Log)
    policy = RetryPolicy(max_attempts=3, initial_interval=0.01)
    graph.add_node("unsteady", Unsteady(), retry_policy=policy)
    graph.add_edge(START, "unsteady")
    return graph.compile()


unsteady = _tried_again()


class Question(TypedDict):
    question: str


class Answer(TypedDict):
    answer: str


class Deliberation(Question, Answer):
    hidden: str


def _secretive() -> Any:
    """A graph whose state has a key that its output doesn't have."""
    graph = StateGraph(Deliberation, input_schema=Question, output_schema=Answer)
    graph.add_node("think", lambda state: {"hidden": "hidden", "answer": "nothing"})
    graph.add_edge(START, "think")
    graph.add_edge("think", END)
    return graph.compile()


secretive = _secretive()


class Odd:
    @classmethod
    def __get_pydantic_core_schema__(cls, *args: Any) -> Any:
        raise RuntimeError("no schema today")


class Odds(TypedDict, total=False):
    odd: Odd


shapeless = chain(Odds, ("pass", lambda state: {}))


def unmakeable(config: RunnableConfig) -> Any:
    raise RuntimeError("no model today")


async def waiting() -> Any:
    await asyncio.sleep(3600)


# Its schema refuses the value of the first node, when the second one gets it.
strict = chain(Number, ("say", lambda state: {"n": "many"}), ("add", lambda state: {}))


# --- A subgraph, and a context ------------------------------------------------------
class Context(TypedDict, total=False):
    user_name: str
    temperature: float


class Topic(TypedDict, total=False):
    topic: str
    log: Annotated[list[str], operator.add]


def before_child(state: Topic, runtime: Runtime[Context]) -> dict[str, Any]:
    return {"log": [f"pre:{runtime.context}"]}


def child_a(state: Topic) -> dict[str, Any]:
    get_stream_writer()({"from": "sub_a"})
    return {"log": ["sub_a"]}


def child_b(state: Topic) -> dict[str, Any]:
    said = interrupt("sub question") if state.get("topic") == "stop" else "n"
    return {"log": [f"sub_b:{said}"]}


nested = chain(
    Topic,
    ("pre", before_child),
    ("child", chain(Topic, ("sub_a", child_a), ("sub_b", child_b))),
    context=Context,
)


# --- What a node can read ----------------------------------------------------------
class Told(TypedDict, total=False):
    config: dict[str, Any]
    context: Any


def tell(
    state: Told, config: RunnableConfig, runtime: Runtime[Context]
) -> dict[str, Any]:
    public = {
        key: value
        for key, value in config["configurable"].items()
        if not key.startswith("__")
    }
    seen = {
        "configurable": public,
        "tags": [tag for tag in config.get("tags") or [] if ":" not in tag],
        "metadata": dict(config["metadata"]),
        "recursion_limit": config.get("recursion_limit"),
        "max_concurrency": config.get("max_concurrency"),
    }
    return {"config": seen, "context": runtime.context}


reveal = chain(Told, ("tell", tell), context=Context)


# --- State that is kept as differences ----------------------------------------------
def appended(state: list[str], writes: Any) -> list[str]:
    return [*(state or []), *(one for write in writes for one in write)]


class Differences(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(appended)]


delta = chain(
    Differences,
    ("a", lambda state: {"log": ["a"]}),
    ("b", lambda state: {"log": ["b"]}),
)
