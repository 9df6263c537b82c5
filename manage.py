#!/usr/bin/env python
import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError

from config.env import stop
from embedded.__main__ import main as serve

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    # Before settings are read: it is what starts the servers that they name.
    if sys.argv[1:2] == ["serve"]:
        sys.exit(serve(sys.argv[2:]))
    try:
        execute_from_command_line(sys.argv)
    except (OperationalError, ProgrammingError) as exc:
        if "--traceback" in sys.argv:
            raise
        # It is not there, or no `prepare` has made its tables.
        stop(f"Postgres (DATABASE_URL): {exc}")
