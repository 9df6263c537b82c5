"""`spool dev`: as `spool serve`, with new code whenever a file of the user's changes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from spool.embedded.reloading import ReloadingSupervisor
from spool.programs import serve

# Folders that no code of the user's lies in.
SKIPPED = {"__pycache__", "node_modules", "site-packages"}


def main(given: argparse.Namespace) -> int:
    # As it was before a langgraph.json has added to it.
    environment: dict[str, str] = {}

    def preload() -> None:
        environment.update(os.environ)
        import_module("spool.preload")

    def forget() -> None:
        """Read langgraph.json anew: it may have changed, and so may its variables."""
        os.environ.clear()
        os.environ.update(environment)
        _module().langgraph_json.cache_clear()

    return serve.main(
        given, ReloadingSupervisor, preload=preload, watched=watched, forget=forget
    )


def watched() -> Iterator[Path]:
    """langgraph.json, the file of its variables, and all code beside them."""
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
    # Not imported above: it reads the settings, which name servers to be started.
    return import_module("spool.config.langgraph_json")
