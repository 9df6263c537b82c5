"""The table of run fields in docs/compatibility.md, from the tests that prove it.

Each test of a field says what it proves; `python -m spool.tests.compat` writes the
table of them into the page.
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


# The modules of these tests: what they claim is known once they are imported.
TESTS = ("test_run_fields", "test_run_threads", "test_run_events")
CLAIMS: list[Claim] = []


def proves(field: str, given: str, effect: str) -> Callable[[Test], Test]:
    """Marks a test: a `field` of this value has this effect."""
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
