"""`env` of langgraph.json: how values are set, and which are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from spool.config.langgraph_json import langgraph_json


@pytest.fixture
def config(
    tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    settings.LANGGRAPH_CONFIG = tmp_path / "langgraph.json"
    monkeypatch.setattr(os, "environ", os.environ.copy())
    langgraph_json.cache_clear()
    yield tmp_path / "langgraph.json"
    langgraph_json.cache_clear()


def read(config: Path, env: dict[str, Any]) -> None:
    graphs = {"agent": "./agent.py:graph"}
    config.write_text(json.dumps({"graphs": graphs, "env": env}))
    langgraph_json()


def test_values_are_set_as_json_has_them(config: Path) -> None:
    read(config, {"OF_TEXT": "x", "OF_NUMBER": 1.5, "OF_YES": True})

    found = [os.environ[name] for name in ("OF_TEXT", "OF_NUMBER", "OF_YES")]
    assert found == ["x", "1.5", "true"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("A", None, "env.A must be text without NUL, a number or a boolean"),
        ("A", ["x"], "env.A must be text without NUL, a number or a boolean"),
        ("A", {}, "env.A must be text without NUL, a number or a boolean"),
        ("A", "x\0y", "env.A must be text without NUL, a number or a boolean"),
        ("", "x", "env: '' is not a valid name of a variable"),
        ("A=B", "x", "env: 'A=B' is not a valid name of a variable"),
        ("A\0B", "x", r"env: 'A\x00B' is not a valid name of a variable"),
    ],
)
def test_what_no_environment_can_hold_is_refused(
    config: Path, name: str, value: Any, reason: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        read(config, {name: value})

    assert str(refused.value) == f"spool: {config}: {reason}"
