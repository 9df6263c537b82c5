"""Delete all data of one owner, for the console and for `spool manage delete_owner`."""

from __future__ import annotations

import time
from collections.abc import Iterator

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


# Keys come before everything that creates runs, so that no new rows appear meanwhile.
# Budgets come before keys, since they are found by their keys.
PARTS = (
    ("budgets", usage.delete_budgets_of),
    ("API keys", delete_keys_of),
    ("crons", crons.delete_owned_by),
    ("webhooks sent or to be sent", deliveries.delete_owned_by),
    ("threads", threads.delete_owned_by),
    ("assistants", assistants.delete_owned_by),
    ("store items", store.delete_owned_by),
)


def delete_owner(owner: str, *, keep_usage: bool) -> Iterator[tuple[str, int]]:
    """Delete an owner's data in parts. Yields each part's name and number of rows."""
    for what, delete_owned_by in PARTS:
        yield what, delete_owned_by(owner)
    forget_owner(owner)
    queue.resume(Pause.Kind.OWNER, owner)
    queue.limit_owner(owner, None)
    if not keep_usage:
        yield "rows of usage", usage.delete_owned_by(owner)
