"""The `spool` command: its subcommands and their arguments.

Django is not imported here: settings are read when the program knows the URLs of its
servers, and `--help` needs none.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module

from spool.config.env import choose_settings
from spool.config.import_path import keep_users_names_free
from spool.telemetry import logs

# Each has a function `main(given) -> exit status`.
PROGRAMS = {
    "serve": "spool.programs.serve",
    "dev": "spool.programs.dev",
    "prepare": "spool.programs.prepare",
    "web": "spool.programs.web",
    "worker": "spool.programs.worker",
    "beat": "spool.programs.beat",
    "health": "spool.programs.health",
    "doctor": "spool.programs.doctor",
}
# All of its arguments are passed to Django, `--help` too.
MANAGE = "manage"


def main(arguments: list[str]) -> int:
    """Run a command; returns its exit status."""
    keep_users_names_free()
    if arguments[:1] == [MANAGE]:
        choose_settings()
        manage: Callable[[list[str]], int]
        manage = import_module("spool.programs.manage").main
        return manage(arguments[1:])
    given = parser().parse_args(arguments)
    choose_settings()
    if given.config:
        os.environ["LANGGRAPH_CONFIG"] = given.config
    program: Callable[[argparse.Namespace], int]
    program = import_module(PROGRAMS[given.command]).main
    return program(given)


def run() -> None:
    """The `spool` script."""
    logs.begin_early()
    try:
        status = main(sys.argv[1:])
    except SystemExit as exc:
        if not isinstance(exc.code, str):
            raise
        logs.complain(exc.code)
        status = 1
    sys.exit(status)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spool",
        description="A self-hosted agent server. What its variables mean is in "
        "docs/configuration.md.",
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, title="commands"
    )

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text}.")
        added.add_argument(
            "--config",
            metavar="FILE",
            help="langgraph.json (LANGGRAPH_CONFIG, else ./langgraph.json)",
        )
        return added

    _serve(command("serve", "Start everything on this machine, in the foreground"))
    _serve(command("dev", "The same, restarted whenever one of your files changes"))
    _prepare(command("prepare", "Migrate the database, check, register the graphs"))
    _web(command("web", "Start a web process"))
    _worker(command("worker", "Start a worker process, which executes runs"))
    command("beat", "Start the process that sends the periodic tasks")
    _health(command("health", "Check the health of a process: exit status 0 or 1"))
    _doctor(command("doctor", "Check configuration and services"))
    commands.add_parser(
        MANAGE, help="Django's commands: `spool manage createsuperuser`"
    )
    return parser


def _serve(command: argparse.ArgumentParser) -> None:
    _address(command)
    command.add_argument("--workers", default="1", help="worker processes (1)")


def _prepare(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--without-graphs",
        action="store_true",
        help="don't import the project's code: web processes do so when they start",
    )


def _web(command: argparse.ArgumentParser) -> None:
    _address(command)
    command.add_argument("--fd", type=int, help="listen on this inherited socket")
    command.add_argument(
        "--grace",
        type=int,
        metavar="SECONDS",
        help="how long streams may continue after SIGTERM (2)",
    )
    _ready(command)


def _worker(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-n",
        "--name",
        default="worker",
        help="the worker's name, before @ and the host name",
    )
    _ready(command)
    command.add_argument(
        "--stopping-fd", type=int, help="write to this inherited pipe when stopping"
    )


def _health(command: argparse.ArgumentParser) -> None:
    command.add_argument("program", choices=("web", "worker", "beat"))
    _address(command)


def _doctor(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for programs")


def _address(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", help="address (HOST, else 127.0.0.1)")
    command.add_argument("--port", help="port, from 1 to 65535 (PORT, else 8123)")


def _ready(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ready-fd", type=int, help="write to this inherited pipe when ready"
    )
