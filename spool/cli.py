"""The `spool` command: one word for each program.

Nothing of Django is imported here: settings are read once the program knows where its
servers are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from spool.config.env import choose_settings
from spool.config.import_path import keep_users_names_free

USAGE = """\
usage: spool COMMAND [ARGUMENTS]

  serve     everything on this machine, in the foreground
  prepare   migrate the database and register what a server needs
  web       a web process
  worker    a worker process, which executes runs
  beat      the process that sends the periodic tasks
  manage    Django's commands, as in `spool manage createsuperuser`

`spool COMMAND --help` lists the arguments of a command."""
# Each has a function `main(arguments) -> exit status`.
PROGRAMS = {
    "serve": "spool.programs.serve",
    "web": "spool.programs.web",
    "worker": "spool.programs.worker",
    "beat": "spool.programs.beat",
    "manage": "spool.programs.manage",
}


def main(arguments: list[str]) -> int:
    """Run a command; returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "prepare":
        name, rest = "manage", arguments
    if name not in PROGRAMS:
        print(
            f"spool: there is no command {name!r}; try `spool --help`", file=sys.stderr
        )
        return 2
    keep_users_names_free()
    choose_settings()
    program: Callable[[list[str]], int] = import_module(PROGRAMS[name]).main
    return program(rest)
