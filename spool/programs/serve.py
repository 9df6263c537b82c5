"""`spool serve`: Spool on one machine, in the foreground."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from spool.embedded.console import say
from spool.embedded.processes import CannotStart
from spool.embedded.supervisor import Options, Programs, Supervisor


def main(
    given: argparse.Namespace,
    supervisor: type[Supervisor] = Supervisor,
    **parts: Callable[[], Any],
) -> int:
    """Run the supervisor; `parts` are further fields of `Programs`."""
    try:
        options = parse(given)
        return supervisor(options, programs(options, **parts)).serve()
    except (CannotStart, OSError) as exc:  # OSError: no space, no permission, no file.
        say(f"spool: {exc}", level="ERROR")
        return 1


def parse(given: argparse.Namespace) -> Options:
    env = os.environ
    config = Path(env.get("LANGGRAPH_CONFIG") or "langgraph.json").resolve()
    # Graphs may be configured by the environment instead, as in the official images.
    if not config.is_file() and not env.get("LANGSERVE_GRAPHS"):
        raise CannotStart(
            f"{config} does not exist: set --config (or LANGGRAPH_CONFIG)"
        )
    host = env.get("HOST") or "127.0.0.1" if given.host is None else given.host
    port = env.get("PORT") or "8123" if given.port is None else given.port
    return Options(
        config=config,
        host=address(host),
        port=number("--port", port, min_value=1, max_value=65535),
        workers=number("--workers", given.workers, min_value=0, max_value=64),
        home=Path(env.get("SPOOL_HOME") or ".spool").resolve(),
    )


def programs(
    options: Options,
    *,
    # Not imported above: it reads settings, which contain URLs of servers to start.
    preload: Callable[[], Any] = lambda: import_module("spool.preload"),
    **parts: Callable[[], Any],
) -> Programs:
    return Programs(
        module="spool",
        # Web and worker import the graphs at the same time, and report errors.
        prepare=["prepare", "--without-graphs"],
        web=["web", "--host", options.host, "--port", str(options.port)],
        worker=["worker"],
        beat=["beat"],
        preload=preload,
        **parts,
    )


def address(text: str) -> str:
    # uvicorn would listen on all addresses for an empty one.
    if not text.strip():
        raise CannotStart("--host must name an address")
    return text.strip()


def number(name: str, text: str, *, min_value: int, max_value: int) -> int:
    if not text.isdecimal() or not min_value <= int(text) <= max_value:
        raise CannotStart(
            f"{name} must be a number from {min_value} to {max_value}, not {text!r}"
        )
    return int(text)
