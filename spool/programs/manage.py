"""`spool manage`: Django's commands, and Spool's."""

from __future__ import annotations

from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError

from spool.config.env import stop


def main(arguments: list[str]) -> int:
    try:
        execute_from_command_line(["spool manage", *arguments])
    except (OperationalError, ProgrammingError) as exc:
        if "--traceback" in arguments:
            raise
        # Postgres is away, or `prepare` has not created the tables.
        stop(f"Postgres (DATABASE_URL): {exc}")
    return 0
