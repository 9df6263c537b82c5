"""`python -m embedded`: Spool on one machine, in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from embedded.processes import CannotStart
from embedded.supervisor import ROOT, Options, Supervisor


def main(arguments: list[str] | None = None) -> int:
    try:
        return Supervisor(parse(arguments)).serve()
    except (CannotStart, OSError) as exc:  # Or no space, no permission, no file.
        print(f"spool: {exc}", file=sys.stderr)
        return 1


def parse(arguments: list[str] | None) -> Options:
    env = os.environ
    parser = argparse.ArgumentParser(prog="serve", description=__doc__)
    parser.add_argument(
        "--config",
        type=Path,
        default=env.get("LANGGRAPH_CONFIG") or ROOT / "langgraph.json",
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
        port=number("--port", given.port, least=1, most=65535),
        workers=number("--workers", given.workers, least=0, most=64),
        home=Path(env.get("SPOOL_HOME") or ROOT / ".spool"),
    )


def address(text: str) -> str:
    # uvicorn would take nothing for every address of this machine.
    if not text.strip():
        raise CannotStart("--host must name an address")
    return text.strip()


def number(name: str, text: str, *, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise CannotStart(
            f"{name} must be a number from {least} to {most}, not {text!r}"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
