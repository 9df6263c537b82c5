"""The floor: what the graph `echo` costs if LangGraph alone executes it.

It takes one process with LangGraph's in-memory checkpointer, and nothing is stored or
sent. A machine's speed drifts, so each row of the benchmark is compared with a floor of
the same moment. A streamed token has a separate floor: what LangGraph alone needs.
"""

from __future__ import annotations

import asyncio
import runpy
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import IO, Any, Self, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

Graph = Pregel[Any, Any, Any, Any]

AGENTS = Path(__file__).parent / "agents"
RUNS = 300
TOKENS = 1000


class Floor:
    """A process beside the benchmark's, so that its memory and CPU are its own."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "spool.bench.floor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ms()  # Finish lazy imports.
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ms(self) -> float:
        """CPU milliseconds for one run of `echo`, now."""
        return self._ask("run")

    def token_ms(self) -> float:
        """CPU milliseconds for one message event of `tokens`, streamed as tuples."""
        return self._ask("token")

    def protocol_token_ms(self) -> float:
        """CPU milliseconds for one event of LangGraph's event streaming."""
        return self._ask("protocol token")

    def _ask(self, what: str) -> float:
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(f"{what}\n")
        stdin.flush()
        return float(cast("IO[str]", self._process.stdout).readline())


def _call(content: str) -> tuple[dict[str, Any], RunnableConfig]:
    messages = [{"role": "user", "content": content}]
    return {"messages": messages}, {"configurable": {"thread_id": str(uuid.uuid4())}}


async def _run(graph: Graph) -> int:
    for _ in range(RUNS):
        async for _ in graph.astream(*_call("hi"), stream_mode="values"):
            pass
    return RUNS


async def _stream_tokens(graph: Graph) -> int:
    streamed = graph.astream(*_call(str(TOKENS)), stream_mode="messages")
    return len([event async for event in streamed])


async def _stream_protocol_tokens(graph: Graph) -> int:
    async with await graph.astream_events(*_call(str(TOKENS)), version="v3") as run:
        return len([event async for event in run])


# Request -> the graph, and how to execute it. The process answers with the cost of one.
WORK = {
    "run": ("echo", _run),
    "token": ("tokens", _stream_tokens),
    "protocol token": ("tokens", _stream_protocol_tokens),
}


def main() -> None:
    for line in sys.stdin:
        name, drive = WORK[line.strip()]
        builder = runpy.run_path(str(AGENTS / f"{name}.py"))["builder"]
        graph = builder.compile(checkpointer=InMemorySaver())
        begun = time.process_time()
        count = asyncio.run(drive(graph))
        print(1000 * (time.process_time() - begun) / count, flush=True)


if __name__ == "__main__":
    main()
