"""The floor: what the graph `echo` costs where LangGraph alone drives it.

One process, its in-memory checkpointer, nothing stored and nothing sent. A machine's
speed drifts, so each row of the benchmark is compared with a floor of the same moment.
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

from langgraph.checkpoint.memory import InMemorySaver

GRAPH = Path(__file__).parent / "agents" / "echo.py"
INPUT = {"messages": [{"role": "user", "content": "hi"}]}
RUNS = 300


class Floor:
    """A process beside the benchmark's, so that its memory and CPU are its own."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "spool.bench.floor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ms()  # Loads what is loaded late.
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ms(self) -> float:
        """CPU milliseconds for one run, now."""
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(f"{RUNS}\n")
        stdin.flush()
        return float(cast("IO[str]", self._process.stdout).readline())


async def _drive(builder: Any, runs: int) -> float:
    graph = builder.compile(checkpointer=InMemorySaver())
    begun = time.process_time()
    for _ in range(runs):
        config = {"configurable": {"thread_id": str(uuid.uuid4())}}
        async for _ in graph.astream(INPUT, config, stream_mode="values"):
            pass
    return 1000 * (time.process_time() - begun) / runs


def main() -> None:
    builder = runpy.run_path(str(GRAPH))["builder"]
    for line in sys.stdin:
        print(asyncio.run(_drive(builder, int(line))), flush=True)


if __name__ == "__main__":
    main()
