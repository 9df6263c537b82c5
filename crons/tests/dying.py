"""`python -m crons.tests.dying`: ticks that are killed, for the tests.

For each number on its standard input it forks a tick that is killed after that many
lines of Spool's code, and prints the exit status: -9, or 0 if the tick has fewer lines.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

from spool import preload as preload
from spool.assistants.graphs import registry
from spool.crons import firing

OURS = ("spool.crons.", "spool.runs.", "spool.threads.")


def main() -> None:
    registry()  # Load the graphs before forking.
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            tick(int(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def tick(lines: int) -> None:
    left = lines

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith(OURS):
            return None
        left -= event == "line"
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    firing.fire_due()


if __name__ == "__main__":
    main()
