"""Graphs that note the steps that they begin, for tests that kill their workers."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

from agents import chain
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.types import interrupt

PAUSE_SECS = 0.02


class Steps(TypedDict, total=False):
    file: str
    delay: float
    log: Annotated[list[str], operator.add]


class Ticks(TypedDict):
    count: int
    delay: float


class Counts(TypedDict, total=False):
    count: int
    delay: float
    log: Annotated[list[str], operator.add]


def note(state: Steps, *words: object) -> None:
    """Append these words to the file as one line."""
    with Path(state["file"]).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def is_held(state: Steps, what: object) -> bool:
    """Whether a test holds the graph in this step; see `tests/company.py`."""
    return Path(f"{state['file']}.{what}").exists()


async def pause(state: Steps, what: object) -> None:
    await asyncio.sleep(state.get("delay", 0.2))
    while is_held(state, what):
        await asyncio.sleep(PAUSE_SECS)


def step(number: int) -> tuple[str, Any]:
    async def take(state: Steps, config: RunnableConfig) -> dict[str, Any]:
        note(state, number, os.getpid(), config["metadata"].get("run_attempt"))
        get_stream_writer()({"step": number})
        await pause(state, number)
        return {"log": [f"step{number}"]}

    return f"s{number}", take


class Counted(GenericFakeChatModel):
    """A model that reports 10 input and 5 output tokens for each call."""

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        answer = AIMessage(
            "yes",
            usage_metadata={
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 15,
            },
            response_metadata={"model_name": "counted-1"},
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])


def spend(number: int) -> tuple[str, Any]:
    async def call(state: Steps) -> dict[str, Any]:
        await Counted(messages=iter([])).ainvoke("hm")
        note(state, number, os.getpid())
        await pause(state, number)
        return {"log": [f"call{number}"]}

    return f"s{number}", call


async def never_enough(state: Steps) -> dict[str, Any]:
    """Call a model for ever, and retry whatever a call raises."""
    while True:
        try:
            await Counted(messages=iter([])).ainvoke("more")
            note(state, time.time())
        except Exception:
            note(state, "caught")
        await asyncio.sleep(state["delay"])


async def ask(state: Steps) -> dict[str, Any]:
    said = interrupt("go on?")
    note(state, said, os.getpid())
    await pause(state, said)
    return {"log": [said]}


async def block(state: Steps) -> dict[str, Any]:
    note(state, "block", os.getpid())
    time.sleep(state["delay"])
    while is_held(state, "block"):
        time.sleep(PAUSE_SECS)
    return {"log": ["blocked"]}


def sleep(state: Steps) -> dict[str, Any]:
    """Sleep in a thread, which can't be cancelled."""
    note(state, "sleep", os.getpid())
    time.sleep(state["delay"])
    note(state, "awake", os.getpid())
    return {"log": ["slept"]}


async def kill(state: Steps) -> dict[str, Any]:
    note(state, "kill", os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def tick(state: Ticks) -> dict[str, Any]:
    for number in range(state["count"]):
        get_stream_writer()({"tick": number})
        await asyncio.sleep(state["delay"])
    return {}


def count(number: int) -> tuple[str, Any]:
    async def take(state: Counts) -> dict[str, Any]:
        for tick in range(state["count"]):
            get_stream_writer()({"step": number, "tick": tick})
            await asyncio.sleep(state["delay"])
        return {"log": [f"step{number}"]}

    return f"c{number}", take


steps = chain(Steps, *(step(number) for number in range(1, 6)))
# The middle three steps are in a subgraph.
within = chain(Steps, *(step(number) for number in range(2, 5)))
family = chain(Steps, step(1), ("within", within), step(5))
asking = chain(Steps, step(1), ("ask", ask), step(2), step(3))
blocking = chain(Steps, ("block", block))
sleeping = chain(Steps, ("sleep", sleep))
ticking = chain(Ticks, ("tick", tick))
counting = chain(Counts, *(count(number) for number in range(1, 6)))
killer = chain(Steps, ("kill", kill))
spending = chain(Steps, *(spend(number) for number in range(1, 4)))
insatiable = chain(Steps, ("call", never_enough))
