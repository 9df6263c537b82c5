"""`python -m bench.store_scale`: the store with a million items, on a server of its own.

Prints how long each operation takes, one after another: its statements and all that
Spool does around them, and for a few of them the web process as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from bench.__main__ import CONFIG
from tests.live import ROOT, Server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.store_scale")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--owners", type=int, default=1_000)
    parser.add_argument("--vectors", type=int, default=100_000)
    given, rest = parser.parse_known_args()
    server = Server(CONFIG)
    server.start()
    try:
        web = server.environment()
        environment = {
            **os.environ,
            "DATABASE_URL": web["DATABASE_URL"],
            "REDIS_URL": web["REDIS_URL"],
            "SPOOL_HOME": str(server.home),
            "LANGGRAPH_CONFIG": str(CONFIG),
        }
        sizes = [str(given.items), str(given.owners), str(given.vectors)]
        command = [sys.executable, "-m", "bench.store_measure", server.url, *sizes]
        return subprocess.run(
            [*command, *rest], cwd=ROOT, env=environment, check=False
        ).returncode
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
