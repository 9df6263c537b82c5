"""The changes between two documents, as lines for reading, found in bounded time."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import pairwise

# Lines around a change, and how many lines are compared and shown at most.
CONTEXT = 2
MAX_COMPARED = 2_000
MAX_SHOWN = 1_000
# How many characters of a long line are shown, and how many of them before a change.
MAX_LENGTH = 1_000
BEFORE_CHANGE = 200


def difference(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]]:
    """The lines of a unified diff, as pairs of a sign and a line.

    The sign is `-`, `+`, `@` or a space.
    """
    old, new = _without_common_ends(before, after)
    compared = old[:MAX_COMPARED], new[:MAX_COMPARED]
    found = list(difflib.unified_diff(*compared, lineterm="", n=CONTEXT))[2:]
    lines = list(_cut(found[:MAX_SHOWN]))
    left_out = max(len(found) - MAX_SHOWN, 0) + max(
        len(old) - MAX_COMPARED, len(new) - MAX_COMPARED, 0
    )
    if left_out:
        lines.append((" ", f"… {left_out} more lines"))
    return lines


def _without_common_ends(
    before: Sequence[str], after: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Cut the equal lines at the beginning and the end, except for the context."""
    shorter = min(len(before), len(after))
    first = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    rest = shorter - first
    last = next((n for n in range(rest) if before[-1 - n] != after[-1 - n]), rest)
    start, end = max(first - CONTEXT, 0), max(last - CONTEXT, 0)
    return before[start : len(before) - end], after[start : len(after) - end]


def _cut(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of a sign and a line. A long line is cut to the part with the change."""
    start = 0
    for line, following in pairwise([*lines, ""]):
        sign = line[0]
        if sign == "@":
            yield "@", "…"
            continue
        if sign == "-" and following.startswith("+"):
            start = _change(line[1:], following[1:])
        elif sign != "+":
            start = 0
        yield sign, sign + _part(line[1:], start)
        if sign == "+":
            start = 0


def _change(old: str, new: str) -> int:
    """The position from which to show two lines; 0 if they soon differ."""
    same, longest = 0, min(len(old), len(new))
    while same < longest:  # A binary search: lines may have millions of characters.
        middle = (same + longest + 1) // 2
        if old[same:middle] == new[same:middle]:
            same = middle
        else:
            longest = middle - 1
    return same - BEFORE_CHANGE if same > MAX_LENGTH - BEFORE_CHANGE else 0


def _part(line: str, start: int) -> str:
    if len(line) <= MAX_LENGTH:
        return line
    shown = line[start : start + MAX_LENGTH]
    return f"{'…' * bool(start)}{shown}… ({len(line)} characters)"
