"""Graphs whose results depend on more of a server than executing them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from operator import add
from time import sleep
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict


# --- Contexts -----------------------------------------------------------------------
@dataclass
class DataclassContext:
    model: str = "default-model"


class ModelContext(BaseModel):
    model: str = "default-model"


class DictContext(TypedDict, total=False):
    model: str


class NeedyContext(BaseModel):
    model: str


class Seen(TypedDict, total=False):
    seen: Annotated[list[Any], add]


def _look(state: Seen, runtime: Runtime[Any]) -> Seen:
    context = runtime.context
    return {"seen": [getattr(context, "model", context)]}


def _looking(schema: Any, *, by_send: bool = False) -> Any:
    graph = StateGraph(Seen, context_schema=schema).add_node("look", _look)
    if by_send:
        graph.add_conditional_edges(START, lambda _: [Send("look", {})] * 2, ["look"])
    else:
        graph.add_edge(START, "look")
    return graph.compile()


dataclass_context = _looking(DataclassContext)
sent_context = _looking(DataclassContext, by_send=True)
model_context = _looking(ModelContext)
dict_context = _looking(DictContext)
needy_context = _looking(NeedyContext)
no_context = _looking(None)


# --- Interrupts of parallel tasks ---------------------------------------------------
class Answers(TypedDict, total=False):
    questions: list[str]
    question: str
    answers: Annotated[list[str], add]


class Answered(TypedDict):
    answers: Annotated[list[str], add]


def _ask(state: Answers) -> Answered:
    # Later tasks are interrupted earlier.
    sleep(0.02 * (ord("e") - ord(state["question"])))
    return {"answers": [interrupt(state["question"])]}


_child = StateGraph(Answers, output_schema=Answered).add_node("ask", _ask)
_child.add_edge(START, "ask")

ask_in_parallel = StateGraph(Answers).add_node("child", _child.compile())
ask_in_parallel.add_conditional_edges(
    START,
    lambda state: [Send("child", {"question": q}) for q in state["questions"]],
    ["child"],
)


# --- State that clients are not meant to see ----------------------------------------
class Question(TypedDict):
    question: str


class Answer(TypedDict):
    answer: str


class Whole(Question, Answer):
    secret: str


def _think(state: Question) -> dict[str, str]:
    return {"secret": "not for clients"}


def _speak(state: Question) -> dict[str, str]:
    if state["question"] == "stop":
        interrupt("really?")
    if state["question"] == "fail":
        raise ValueError
    return {"answer": state["question"].upper()}


private_state = (
    StateGraph(Whole, input_schema=Question, output_schema=Answer)
    .add_node("think", _think)
    .add_node("speak", _speak)
    .add_edge(START, "think")
    .add_edge("think", "speak")
    .compile()
)


def private_factory(config: RunnableConfig) -> Any:
    return private_state


# --- Values -------------------------------------------------------------------------
class Values(TypedDict, total=False):
    kind: str
    out: Any


def _show(state: Values, config: RunnableConfig, runtime: Runtime[Any]) -> Values:
    shown = {
        key: value
        for key, value in config["configurable"].items()
        if isinstance(value, str) and not key.startswith("__")
    }
    return {"out": {"configurable": shown, "context": runtime.context}}


configurable = StateGraph(Values).add_node("show", _show).add_edge(START, "show")


class Plain:
    """A value that only pickle can store."""


class Clumsy(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _produce(state: Values) -> Values:
    match state["kind"]:
        case "summer":
            zone = timezone(timedelta(hours=2))
            return {"out": datetime(2024, 7, 1, 3, 4, 5, tzinfo=zone)}
        case "naive":
            return {"out": datetime(2024, 1, 1, 3, 4, 5)}
        case "utc":
            return {"out": datetime(2024, 1, 1, tzinfo=UTC)}
        case "plain":
            return {"out": Plain()}
        case "keys":
            return {"out": [list(state["out"]), {"zeta": {"y": 1, "b": 2}, "a": 2}]}
        case "clumsy":
            raise Clumsy
        case "text":
            return {"out": {"__interrupt__": ["__interrupt__"]}}
    raise ValueError


values = StateGraph(Values).add_node("produce", _produce).add_edge(START, "produce")
