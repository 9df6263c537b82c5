"""`spool prepare`: prepares the database and checks the configuration."""

from __future__ import annotations

import argparse

from spool.programs import manage


def main(given: argparse.Namespace) -> int:
    options = ["--without-graphs"] if given.without_graphs else []
    return manage.main(["prepare", *options])
