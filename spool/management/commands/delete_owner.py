"""`spool manage delete_owner`: deletes all data of one owner."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from spool import hooks
from spool.console.owner_deletion import delete_owner


class Command(BaseCommand):
    help = (
        "Delete everything of one owner: runs are cancelled, and go with their "
        "threads, checkpoints, records and events; then assistants, crons, store "
        "items, API keys, budgets, pauses and usage. Tokens (JWT) of the owner must "
        "not be given out any more."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("owner", help="as in `metadata.owner`")
        parser.add_argument(
            "--yes",
            action="store_true",
            help="do not ask for confirmation",
        )
        parser.add_argument("--keep-usage", action="store_true", help="keep the usage")

    def handle(self, *args: Any, **options: Any) -> None:
        owner: str = options["owner"]
        if not owner:
            raise CommandError("the owner must not be empty")
        if not options["yes"]:
            said = input(f"Delete everything of {owner!r}? Type the name again: ")
            if said != owner:
                raise CommandError("nothing was deleted")
        hooks.fill()
        keep_usage: bool = options["keep_usage"]
        for what, count in delete_owner(owner, keep_usage=keep_usage):
            self.stdout.write(f"{count} {what}")
