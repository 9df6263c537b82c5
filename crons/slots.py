"""Which slot a due cron fires, and how it moves on to its next one.

These functions only change the given object: the caller saves it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

from spool.crons.models import Cron
from spool.crons.serializers import SKIP
from spool.crons.services import disable, next_run

# How late a slot at `end_time` may fire.
GRACE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
# Missed slots are counted up to this number, to bound the work after a long outage.
MAX_COUNTED = 1000


def set_first_slot(cron: Cron, now: datetime) -> int | None:
    """Set the slot to fire now. Returns the number of slots left out before it.

    None if there is no slot to fire: the cron has ended, or leaves out all of them.
    """
    # Not `end_time + GRACE`, which may exceed the largest datetime.
    if cron.end_time and now - GRACE > cron.end_time:
        disable(cron, "end_time has passed")
        return None
    left_out = _leave_out(cron, now)
    if cron.next_run_date is None or cron.next_run_date > now:
        return None
    return left_out


def move_on(cron: Cron, now: datetime) -> int:
    """Set the next slot, in the future. Returns the number of slots passed over.

    A cron that catches up with several slots gets the next missed one.
    """
    missed, slot = 0, cron.next_run_date
    if cron.enabled and slot is not None:
        slot = next_run(cron, after=slot)
        if not cron.catch_up.isdecimal():
            missed, slot = _pass_over(cron, slot, now)
        _go_to(cron, slot, missed)
    return missed


def _leave_out(cron: Cron, now: datetime) -> int:
    """Set the first slot to catch up with. Returns the number of slots left out.

    The slot may be in the future.
    """
    if cron.catch_up == SKIP:
        due = [slot for slot in _newest_due(cron, now, 1) if slot >= now - GRACE]
    elif cron.catch_up.isdecimal():
        due = _newest_due(cron, now, int(cron.catch_up))
    else:
        return 0
    following = due[0] if due else next_run(cron, after=now)
    if following == cron.next_run_date:
        return 0
    before = due[0] - SECOND if due else now
    left_out = 1 + _pass_over(cron, next_run(cron, after=_slot(cron)), before)[0]
    _go_to(cron, following, left_out)
    return left_out


def _newest_due(cron: Cron, now: datetime, limit: int) -> list[datetime]:
    """The newest due slots, at most `limit`, in order. Searches backwards from now."""
    first, window = _slot(cron), GRACE
    while True:
        after = max(now - window, first)
        found = [first] if after == first else []
        slot = next_run(cron, after=after)
        while slot is not None and slot <= now:
            found.append(slot)
            slot = next_run(cron, after=slot)
        if after == first or len(found) >= limit:
            return found[-limit:]
        window *= 8


def _slot(cron: Cron) -> datetime:
    return cast(datetime, cron.next_run_date)


def _pass_over(
    cron: Cron, slot: datetime | None, until: datetime
) -> tuple[int, datetime | None]:
    """Count the slots from `slot` to `until`. Also return the next slot after them."""
    missed = 0
    while slot is not None and slot <= until and missed < MAX_COUNTED:
        missed += 1
        slot = next_run(cron, after=slot)
    if slot is not None and slot <= until:
        slot = next_run(cron, after=until)
    return missed, slot


def _go_to(cron: Cron, slot: datetime | None, missed: int) -> None:
    cron.next_run_date = slot
    cron.missed += missed
    if slot is None:
        disable(cron, "the schedule has no slot before end_time")
