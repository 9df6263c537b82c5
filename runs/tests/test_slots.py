"""Slots of a worker, which runs lend while they wait for other runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spool.runs.worker.slots import Slots
from spool.web.inside import TooManyWaiting

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_a_run_that_waits_lends_its_slot_once() -> None:
    slots = Slots(1)
    taken = [slots.take(A), slots.take(A)]

    lent = [slots.lend(A), slots.lend(A)]

    assert taken == [True, False]
    assert lent == [True, False]
    assert [slots.take(A), slots.take(A)] == [True, False]


def test_a_run_has_its_slot_again_after_its_last_wait() -> None:
    slots = Slots(1)
    slots.take(A)
    slots.lend(A)
    slots.lend(A)
    slots.reclaim(A)
    is_still_lent = slots.take(B)
    slots.free()

    slots.reclaim(A)

    assert is_still_lent
    assert not slots.take(B)
    assert slots.free() == B


def test_a_slot_that_is_in_use_is_given_back_when_it_is_free() -> None:
    slots = Slots(1)
    slots.take(A)
    slots.lend(A)
    slots.take(B)

    slots.reclaim(A)  # Both run for a while.
    slots.free()

    assert not slots.take(C)
    assert slots.free() == C


def test_a_slot_is_kept_for_each_run_that_came_while_none_was_free() -> None:
    slots = Slots(2)

    taken = [slots.take(run_id) for run_id in (A, A, B, C, C)]

    assert taken == [True, True, False, False, False]
    # No more runs than there are slots.
    assert [slots.free() for _ in range(4)] == [C, C, None, None]
    assert [slots.take(run_id) for run_id in (A, B)] == [True, True]


def test_no_slot_is_kept_while_there_are_too_few() -> None:
    slots = Slots(1)
    slots.take(A)
    slots.lend(A)
    slots.take(B)
    slots.reclaim(A)  # Both run for a while.
    slots.take(C)

    assert [slots.free(), slots.free()] == [None, C]


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
