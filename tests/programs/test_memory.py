"""When processes give memory back to the system."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from spool.programs.memory import (
    CHECK_SECS,
    GC_THRESHOLDS,
    MAX_PAUSE_SECS,
    SLACK_BYTES,
    Trimmer,
)

MB = 2**20
CHECKS_A_MINUTE = round(60 / CHECK_SECS)


@dataclass
class Memory:
    """A process that uses some memory, and keeps what it has freed."""

    used: int = 100 * MB
    size: int = 100 * MB
    trims: list[int] = field(default_factory=list)

    def use(self, used: int) -> None:
        self.used, self.size = used, max(used, self.size)

    def trim(self) -> None:
        self.trims.append(self.size)
        self.size = self.used

    def trimmer(self) -> Trimmer:
        return Trimmer(lambda: self.size, self.trim)


def test_what_a_burst_leaves_is_given_back() -> None:
    memory = Memory()
    trimmer = memory.trimmer()
    trimmer.check()
    memory.use(800 * MB)
    memory.use(100 * MB)

    for _ in range(CHECKS_A_MINUTE):
        trimmer.check()

    assert memory.size == 100 * MB
    assert memory.trims == [800 * MB]


@pytest.mark.parametrize("minutes_used", [0.25, 10])
def test_what_is_freed_after_the_first_trim_is_given_back_too(
    minutes_used: float,
) -> None:
    memory = Memory()
    trimmer = memory.trimmer()
    memory.use(800 * MB)
    for _ in range(round(minutes_used * CHECKS_A_MINUTE)):
        trimmer.check()
    memory.use(100 * MB)

    for _ in range(CHECKS_A_MINUTE):
        trimmer.check()

    assert memory.size == 100 * MB


def test_memory_that_stays_used_is_trimmed_more_seldom() -> None:
    memory = Memory()
    trimmer = memory.trimmer()
    memory.use(800 * MB)

    for _ in range(10 * CHECKS_A_MINUTE):
        trimmer.check()
    seldom = len(memory.trims)
    memory.use(800 * MB + 2 * SLACK_BYTES)
    trimmer.check()

    assert seldom <= 600 / MAX_PAUSE_SECS + 3
    # The process has grown again.
    assert len(memory.trims) == seldom + 1


def test_old_garbage_is_collected_as_often_as_by_default() -> None:
    new, middle, old = GC_THRESHOLDS

    assert 0.9 < new * middle * old / (700 * 10 * 10) < 1.1
    assert new * middle < 1.5 * 700 * 10
