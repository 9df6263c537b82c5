from __future__ import annotations

from uuid import UUID

import pytest

from spool.protocols.mcp.names import tool_name, tool_names

A = UUID("aaaaaaaa-0000-4000-8000-000000000001")
B = UUID("bbbbbbbb-0000-4000-8000-000000000002")
C = UUID("cccccccc-0000-4000-8000-000000000003")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("research", "research"),
        ("Büro & Co.", "B_ro_Co_"),
        ("a" * 80, "a" * 64),
        ("日本", "assistant"),
        ("", "assistant"),
        ("with space-and_line", "with_space-and_line"),
    ],
)
def test_names_are_made_of_what_is_allowed(name: str, expected: str) -> None:
    assert tool_name(name) == expected


def test_equal_names_end_in_the_ids() -> None:
    names = tool_names([(A, "same"), (B, "same"), (C, "other")])

    assert names == {A: "same_aaaaaaaa", B: "same_bbbbbbbb", C: "other"}


def test_a_long_name_keeps_its_ending() -> None:
    names = tool_names([(A, "x" * 64), (B, "x" * 70)])

    assert names == {A: f"{'x' * 55}_aaaaaaaa", B: f"{'x' * 55}_bbbbbbbb"}


def test_a_name_that_looks_like_an_ending_is_told_apart_too() -> None:
    names = tool_names([(A, "same"), (B, "same"), (C, "same_aaaaaaaa")])

    assert names[A] == f"same_aaaaaaaa_{A.hex}"
    assert names[C] == f"same_aaaaaaaa_{C.hex}"
    assert len(set(names.values())) == 3


def test_the_order_does_not_matter() -> None:
    rows = [(A, "same"), (B, "same"), (C, "same_aaaaaaaa")]

    assert tool_names(rows) == tool_names(reversed(rows))
