"""`spool serve`: Spool on one machine, in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from spool.embedded.processes import CannotStart
from spool.embedded.supervisor import Options, Programs, Supervisor


def main(arguments: list[str]) -> int:
    try:
        options = parse(arguments)
        return Supervisor(options, programs(options)).serve()
    except (CannotStart, OSError) as exc:  # Or no space, no permission, no file.
        print(f"spool: {exc}", file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> Options:
    env = os.environ
    parser = argparse.ArgumentParser(prog="spool serve", description=__doc__)
    parser.add_argument(
        "--config",
        type=Path,
        default=env.get("LANGGRAPH_CONFIG") or "langgraph.json",
        help="langgraph.json (LANGGRAPH_CONFIG)",
    )
    parser.add_argument("--host", default=env.get("HOST") or "127.0.0.1")
    parser.add_argument("--port", default=env.get("PORT") or "8123")
    parser.add_argument("--workers", default="1", help="worker processes")
    given = parser.parse_args(arguments)
    config = Path(given.config).resolve()
    # The graphs may come from the environment instead, as in the official images.
    if not config.is_file() and not env.get("LANGSERVE_GRAPHS"):
        raise CannotStart(f"there is no {config}: set --config (or LANGGRAPH_CONFIG)")
    return Options(
        config=config,
        host=address(given.host),
        port=number("--port", given.port, min_value=1, max_value=65535),
        workers=number("--workers", given.workers, min_value=0, max_value=64),
        home=Path(env.get("SPOOL_HOME") or ".spool").resolve(),
    )


def programs(options: Options) -> Programs:
    return Programs(
        module="spool",
        prepare=["prepare"],
        web=["web", "--host", options.host, "--port", str(options.port)],
        worker=["worker"],
        beat=["beat"],
        # Not imported here: it reads the settings, which name servers to be started.
        preload=lambda: import_module("spool.preload"),
    )


def address(text: str) -> str:
    # uvicorn would take nothing for every address of this machine.
    if not text.strip():
        raise CannotStart("--host must name an address")
    return text.strip()


def number(name: str, text: str, *, min_value: int, max_value: int) -> int:
    if not text.isdecimal() or not min_value <= int(text) <= max_value:
        raise CannotStart(
            f"{name} must be a number from {min_value} to {max_value}, not {text!r}"
        )
    return int(text)
