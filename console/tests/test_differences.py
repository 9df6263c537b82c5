from __future__ import annotations

import json

from spool.console import differences
from spool.console.differences import MAX_LENGTH, difference


def lines(value: object) -> list[str]:
    return json.dumps(value, indent=2).split("\n")


def test_changed_lines_have_their_signs_and_some_context() -> None:
    before = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    after = {**before, "e": 6, "f": 7}

    assert difference(lines(before), lines(after)) == [
        ("@", "…"),
        (" ", '   "c": 3,'),
        (" ", '   "d": 4,'),
        ("-", '-  "e": 5'),
        ("+", '+  "e": 6,'),
        ("+", '+  "f": 7'),
        (" ", " }"),
    ]
    assert difference(lines(before), lines(before)) == []


def test_a_long_line_is_shown_where_it_changes() -> None:
    same = "x" * 5_000_000

    (_, old), (_, new) = difference([f"{same}old"], [f"{same}new"])[1:]

    assert "old… (5000003 characters)" in old
    assert "new… (5000003 characters)" in new
    assert len(new) < MAX_LENGTH + 100


def test_many_lines_take_no_longer_than_a_few() -> None:
    before, after = lines(list(range(300_000))), lines(list(range(1, 300_001)))

    assert len(difference(before, after)) < 20
    found = difference(before, lines(list(range(300_000, 0, -1))))
    assert len(found) == differences.MAX_SHOWN + 1
    assert found[-1][1].endswith(" more lines")
