"""Slots of a worker, lent by runs that wait for others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spool.runs.worker.slots import Slots
from spool.web.inside import TooManyWaiting

A, B = UUID(int=1), UUID(int=2)


def test_a_run_that_waits_lends_its_slot_once() -> None:
    slots = Slots(1)
    taken = [slots.take(), slots.take()]

    lent = [slots.lend(A), slots.lend(A)]

    assert taken == [True, False]
    assert lent == [True, False]
    assert [slots.take(), slots.take()] == [True, False]


def test_a_run_has_its_slot_again_after_its_last_wait() -> None:
    slots = Slots(1)
    slots.take()
    slots.lend(A)
    slots.lend(A)
    slots.reclaim(A)
    is_still_lent = slots.take()
    slots.free()

    slots.reclaim(A)

    assert is_still_lent
    assert not slots.take()
    slots.free()
    assert slots.take()


def test_a_slot_that_is_in_use_is_given_back_when_it_is_free() -> None:
    slots = Slots(1)
    slots.take()
    slots.lend(A)
    slots.take()  # By another run.

    slots.reclaim(A)  # Both run for a while.
    slots.free()

    assert not slots.take()
    slots.free()
    assert slots.take()


def test_too_many_runs_that_wait_are_refused(settings: Any) -> None:
    settings.MAX_WAITING_RUNS = 1
    slots = Slots(2)
    slots.lend(A)

    with pytest.raises(TooManyWaiting, match="SPOOL_MAX_WAITING_RUNS"):
        slots.lend(B)

    slots.lend(A)  # It waits already.
    slots.reclaim(A)
    slots.reclaim(A)
    assert slots.lend(B)
