"""When processes give memory back to the system."""

from __future__ import annotations

from dataclasses import dataclass, field

from spool.programs.memory import CHECK_SECS, MAX_PAUSE_SECS, SLACK_BYTES, Trimmer

MB = 2**20
# Ten minutes, in which the longest pause is reached.
CHECKS = round(MAX_PAUSE_SECS / CHECK_SECS)


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

    for _ in range(CHECKS):
        trimmer.check()

    assert memory.size == 100 * MB
    assert memory.trims == [800 * MB]


def test_what_is_freed_after_the_first_trim_is_given_back_too() -> None:
    memory = Memory()
    trimmer = memory.trimmer()
    memory.use(800 * MB)
    for _ in range(3):
        trimmer.check()
    memory.use(100 * MB)

    for _ in range(10):  # Less than a minute.
        trimmer.check()

    assert memory.size == 100 * MB


def test_memory_that_stays_used_is_trimmed_ever_more_seldom() -> None:
    memory = Memory()
    trimmer = memory.trimmer()
    memory.use(800 * MB)

    for _ in range(10 * CHECKS):
        trimmer.check()
    seldom = len(memory.trims)
    memory.use(800 * MB + 2 * SLACK_BYTES)
    trimmer.check()

    assert seldom < 20
    # It has grown again.
    assert len(memory.trims) == seldom + 1
