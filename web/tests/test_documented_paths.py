"""Files that the documentation names exist in this repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
# A path with a folder in it, as `runs/lifecycle/claiming.py` or `tests/e2e`.
PATH = re.compile(r"`([a-z_0-9]+(?:/[A-Za-z_0-9.]+)+/?)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    named = PATH.findall(page.read_text())

    ours = [path for path in named if (ROOT / path.split("/")[0]).is_dir()]
    assert [path for path in ours if not (ROOT / path).exists()] == []
