"""The documentation agrees with the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]


def read_variables() -> set[str]:
    """The names that `settings.py` reads from the environment."""
    tree = ast.parse((ROOT / "config" / "settings.py").read_text())
    return {
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id.startswith("env_")
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    told = {
        name
        for row in re.findall(r"^\| (`[A-Z].*?) \|", page, re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row)
    }

    assert told == read_variables()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_schema_leaves_nothing_to_guess(tmp_path: Path) -> None:
    """Otherwise `/docs` offers invalid values, and each start logs warnings."""
    page = tmp_path / "openapi.yml"

    call_command("spectacular", file=str(page), fail_on_warn=True)

    assert page.read_text().startswith("openapi: 3.")
