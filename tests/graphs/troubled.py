"""Graphs with problems, each while a file with its name is in the folder `TROUBLES`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TypedDict

from agents import chain
from agents_with_tools import calling, scripted
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

FOLDER = Path(os.environ["TROUBLES"])


class Order(TypedDict, total=False):
    number: int


async def wait(state: Order) -> Order:
    while (FOLDER / "slow").exists():
        await asyncio.sleep(0.05)
    return {}


def parse(state: Order) -> Order:
    if (FOLDER / "poison").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


@tool
def stock(article: str) -> int:
    """How many of an article are there."""
    if (FOLDER / "tool").exists():
        raise ConnectionError("the warehouse does not answer")
    return 7


slow = chain(Order, ("wait", wait))
poison = chain(Order, ("parse", parse))
shop = create_agent(
    scripted(calling("stock", "call_1", article="tea"), AIMessage("There are 7.")),
    [stock],
    name="shop",
)
