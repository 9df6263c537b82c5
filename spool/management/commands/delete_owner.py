"""`spool manage delete_owner`: deletes all data of one owner."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from spool import hooks
from spool.access import keys
from spool.assistants import services as assistants
from spool.crons import services as crons
from spool.runs import queue
from spool.runs.models import Pause
from spool.runs.record import forget_owner
from spool.store import services as store
from spool.threads import services as threads
from spool.usage import services as usage
from spool.webhooks import deliveries


def delete_keys_of(owner: str) -> int:
    """Delete the API keys of an owner, and wait until no process accepts them."""
    count = keys.delete_owned_by(owner)
    if count:
        time.sleep(keys.REMEMBERED_SECS)
    return count


# Keys first, then everything that creates runs, so that no new rows appear meanwhile;
# but before them the budgets, which are found by their keys.
PARTS = (
    ("budgets", usage.delete_budgets_of),
    ("API keys", delete_keys_of),
    ("crons", crons.delete_owned_by),
    ("webhooks sent or to be sent", deliveries.delete_owned_by),
    ("threads", threads.delete_owned_by),
    ("assistants", assistants.delete_owned_by),
    ("store items", store.delete_owned_by),
)


class Command(BaseCommand):
    help = (
        "Delete everything of one owner: runs are cancelled, and go with their threads, "
        "checkpoints, records and events; then assistants, crons, store items, API keys, "
        "budgets, pauses and usage. Tokens (JWT) of the owner must not be given out any "
        "more."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("owner", help="as in `metadata.owner`")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--keep-usage", action="store_true", help="keep what was used, for the bill"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        owner: str = options["owner"]
        if not owner:
            raise CommandError("an owner has a name")
        if not options["yes"]:
            said = input(f"Delete everything of {owner!r}? Type the name again: ")
            if said != owner:
                raise CommandError("nothing was deleted")
        hooks.fill()
        for what, delete_owned_by in PARTS:
            self.stdout.write(f"{delete_owned_by(owner)} {what}")
        forget_owner(owner)
        queue.resume(Pause.Kind.OWNER, owner)
        if not options["keep_usage"]:
            self.stdout.write(f"{usage.delete_owned_by(owner)} rows of usage")
