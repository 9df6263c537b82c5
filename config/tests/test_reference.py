"""docs/configuration.md lists the keys of langgraph.json in the model."""

from __future__ import annotations

from spool.config.reference import BEGIN, END, with_table
from spool.tests.live import ROOT

PAGE = ROOT / "docs" / "configuration.md"


def test_the_table_is_the_models() -> None:
    page = PAGE.read_text()

    assert BEGIN in page
    assert END in page
    assert with_table(page) == page


def test_every_key_says_what_it_means() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines()]

    assert [row for row in rows if len(row) == 3 and not row[1].strip()] == []
