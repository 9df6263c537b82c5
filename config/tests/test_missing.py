"""Hints for modules that can't be imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import LazySettings

from spool.config.missing import install_hint
from spool.config.user_objects import load_object


def hint_for(settings: LazySettings, folder: Path, line: str) -> str:
    """The hint for a graph's file that begins with `line`."""
    (folder / "agent.py").write_text(f"{line}\ngraph = None\n")
    settings.LANGGRAPH_CONFIG = folder / "langgraph.json"
    settings.LANGGRAPH_CONFIG.write_text(json.dumps({"graphs": {}}))
    with pytest.raises(ImportError) as caught:
        load_object("./agent.py:graph")
    return install_hint(caught.value)


@pytest.mark.parametrize("line", ["from .tools import search", "from . import tools"])
def test_a_relative_import_gets_a_hint(
    settings: LazySettings, tmp_path: Path, line: str
) -> None:
    assert "import absolutely" in hint_for(settings, tmp_path, line)


def test_a_missing_package_gets_its_install_line(
    settings: LazySettings, tmp_path: Path
) -> None:
    hint = hint_for(settings, tmp_path, "import nowhere_to_be_found")

    assert hint.endswith("pip install nowhere-to-be-found")


def test_what_is_missing_in_a_module_that_is_there_gets_none(
    settings: LazySettings, tmp_path: Path
) -> None:
    assert hint_for(settings, tmp_path, "from json import nothing") == ""
