from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from spool.access.callers import BadIdentity
from spool.access.keys import create_key
from spool.access.scopes import BadScope

MAX_DAYS = 36_500


class Command(BaseCommand):
    help = "Create an API key, and print it. It can't be shown again."
    # For scripts: print only the result, without warnings of system checks.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "owner", help="the owner of the rows that the key gives access to"
        )
        parser.add_argument("--name", default="", help="what it is for")
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            dest="scopes",
            metavar="RESOURCE:ACTION",
            help="a scope of the key (repeatable; default: everything)",
        )
        parser.add_argument("--expires-in-days", type=float)

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["expires_in_days"]
        if days is not None and not 0 < days <= MAX_DAYS:
            raise CommandError(
                f"--expires-in-days must be more than 0, at most {MAX_DAYS}"
            )
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        try:
            _, text = create_key(
                owner=options["owner"],
                name=options["name"],
                scopes=options["scopes"],
                expires_at=expires_at,
            )
        except (BadIdentity, BadScope) as exc:
            raise CommandError(str(exc)) from None
        self.stdout.write(text)
