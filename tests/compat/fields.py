"""The table of run fields in docs/compatibility.md, from the tests that prove it.

Each test of a field says what it proves; `python -m spool.tests.compat` writes a table
of these to the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
BEGIN = "<!-- run fields: written by `python -m spool.tests.compat` -->\n"
END = "<!-- end of run fields -->\n"

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class Claim:
    field: str
    given: str
    effect: str


# The modules with these tests. Importing them registers what they prove.
TESTS = ("test_run_fields", "test_run_threads", "test_run_events")
CLAIMS: list[Claim] = []


def proves(field: str, given: str, effect: str) -> Callable[[Test], Test]:
    """Mark a test that proves that a `field` with this value has this effect."""
    CLAIMS.append(Claim(field, given, effect))
    return lambda test: test


def claims() -> list[Claim]:
    for name in TESTS:
        import_module(f"spool.tests.compat.{name}")
    return sorted(CLAIMS, key=lambda claim: claim.field)


def table() -> str:
    lines = ["| field | given | effect |", "|---|---|---|"]
    for claim in claims():
        lines.append(f"| `{claim.field}` | {claim.given} | {claim.effect} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"
