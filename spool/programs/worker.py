"""`spool worker`: one worker process, Celery's with the threads pool."""

from __future__ import annotations

import argparse
from typing import NoReturn

import django

django.setup()

from spool import hooks  # noqa: E402
from spool.config.celery import app  # noqa: E402

# Workers learn nothing from each other: Postgres holds what they have to know.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def main(arguments: list[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="spool worker", description=__doc__)
    parser.add_argument(
        "-n", "--name", default="worker", help="in front of @ and the host's name"
    )
    given = parser.parse_args(arguments)
    hooks.fill()
    app.start(["-q", "worker", "-P", "threads", *QUIET, "-n", f"{given.name}@%h"])
