"""`spool dev`: like `spool serve`, but reloads when a user's file changes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from spool.embedded.reloading import ReloadingSupervisor
from spool.programs import serve

# Folders without user code.
SKIPPED = {"__pycache__", "node_modules", "site-packages"}


def main(given: argparse.Namespace) -> int:
    # The environment before langgraph.json adds variables.
    environment: dict[str, str] = {}

    def preload() -> None:
        environment.update(os.environ)
        import_module("spool.preload")

    def forget() -> None:
        """Read langgraph.json again, since it or its variables may have changed."""
        os.environ.clear()
        os.environ.update(environment)
        _module().langgraph_json.cache_clear()

    return serve.main(
        given, ReloadingSupervisor, preload=preload, watched=watched, forget=forget
    )


def watched() -> Iterator[Path]:
    """langgraph.json, its `env` file, and all Python files in the import folders."""
    module = _module()
    parsed = module.langgraph_json()
    config = Path(os.environ["LANGGRAPH_CONFIG"])
    yield config
    if isinstance(env := parsed.env, str):
        yield config.parent / env
    for folder in {*module.import_places(parsed.dependencies)}:
        yield from code_below(folder)


def code_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_skipped(Path(place, name))]
        for name in files:
            if name.endswith(".py"):
                yield Path(place, name)


def _is_skipped(folder: Path) -> bool:
    is_environment = (folder / "pyvenv.cfg").exists()
    return folder.name in SKIPPED or folder.name.startswith(".") or is_environment


def _module() -> Any:
    # Not imported above: it reads settings, which contain URLs of servers to start.
    return import_module("spool.config.langgraph_json")
