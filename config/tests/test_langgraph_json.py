"""The folders of a project's modules, and reading its langgraph.json."""

from __future__ import annotations

import calendar
import json
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from spool.config.langgraph_json import langgraph_json, warn_of_ignored_keys
from spool.config.langgraph_schema import LanggraphJson
from spool.config.user_objects import load_object


@pytest.fixture
def project(
    tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    settings.LANGGRAPH_CONFIG = tmp_path / "langgraph.json"
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    langgraph_json.cache_clear()
    yield tmp_path
    langgraph_json.cache_clear()
    for name in set(sys.modules) - known:
        del sys.modules[name]


def read(project: Path, **content: Any) -> LanggraphJson:
    text = json.dumps({"graphs": {"agent": "./agent.py:graph"}, **content})
    (project / "langgraph.json").write_text(text)
    return langgraph_json()


def found_file(name: str) -> str | None:
    spec = PathFinder.find_spec(name, sys.path)
    return spec.origin if spec else None


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("dependency", "module", "reference"),
    [
        # A package beside langgraph.json, as in the official examples.
        ("./my_agent", "my_agent/words.py", "./my_agent/agent.py:word"),
        ("my_agent", "my_agent/words.py", "my_agent.agent:word"),
        # A separate project, with its packages in it or below `src`.
        ("./project", "project/my_agent/words.py", "my_agent.agent:word"),
        ("./project", "project/src/my_agent/words.py", "my_agent.agent:word"),
        (".", "src/my_agent/words.py", "./src/my_agent/agent.py:word"),
        (".", "my_agent/words.py", "my_agent.agent:word"),
    ],
)
def test_packages_are_found_where_the_official_server_finds_them(
    project: Path, dependency: str, module: str, reference: str
) -> None:
    write(project / "pyproject.toml", "")
    write(project / "project" / "pyproject.toml", "")
    write(project / module, "word = 'found'")
    write((project / module).parent / "__init__.py", "")
    write((project / module).parent / "agent.py", "from my_agent.words import word")

    read(project, dependencies=[dependency, "httpx", "some_package>=2"])

    assert load_object(reference) == "found"


def test_a_module_of_an_agent_takes_no_name_from_others(project: Path) -> None:
    write(project / "tools" / "calendar.py", "raise RuntimeError('not this one')")
    read(project, dependencies=["./tools"])

    assert found_file("calendar") == calendar.__file__


def test_a_directory_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(SystemExit, match=r"no such directory: .*nowhere"):
        read(project, dependencies=["./nowhere"])


def test_a_mark_before_the_text_is_no_part_of_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPOOL_TEST_WORD", raising=False)
    (project / ".env").write_text("SPOOL_TEST_WORD=marked", encoding="utf-8-sig")
    text = '{"graphs": {"agent": "./agent.py:graph"}, "env": ".env"}'
    (project / "langgraph.json").write_text(text, encoding="utf-8-sig")

    assert langgraph_json().env == ".env"
    assert os.environ["SPOOL_TEST_WORD"] == "marked"
    monkeypatch.delenv("SPOOL_TEST_WORD")


def test_the_environment_goes_before_the_file(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOOL_TEST_WORD", "given")
    monkeypatch.delenv("SPOOL_TEST_OTHER", raising=False)

    read(project, env={"SPOOL_TEST_WORD": "asked", "SPOOL_TEST_OTHER": 5})

    assert os.environ["SPOOL_TEST_WORD"] == "given"
    assert os.environ["SPOOL_TEST_OTHER"] == "5"
    monkeypatch.delenv("SPOOL_TEST_OTHER")


def test_an_env_file_that_is_not_there_is_one_warning(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(project, env=".env")

    warn_of_ignored_keys()

    (line,) = caplog.messages
    assert line.endswith("env: the file .env does not exist")


@pytest.mark.parametrize("by", ["file", "environment"])
def test_encryption_stops_the_start(
    project: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = {"path": "./encryption.py:encryption"}
    if by == "environment":
        monkeypatch.setenv("LANGGRAPH_ENCRYPTION", json.dumps(path))

    with pytest.raises(SystemExit, match="encryption"):
        read(project, **({"encryption": path} if by == "file" else {}))
