"""Which revision of a graph this process serves.

`SPOOL_REVISION` names it; otherwise it is a hash of the Python files in the graph's
folder, which differs between two states of a checkout.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from django.conf import settings

from spool.config.langgraph_json import langgraph_json

# Folders that hold no code of the graph's author.
SKIPPED = {"__pycache__", "node_modules", "site-packages", "venv"}
MAX_FILES = 2_000
SHOWN = 12


@cache
def revisions() -> Mapping[str, str]:
    """The revision of each served graph, by its id."""
    graphs = langgraph_json().graphs
    if named := settings.REVISION:
        return dict.fromkeys(graphs, named)
    return {graph_id: _revision(entry.path) for graph_id, entry in graphs.items()}


def _revision(reference: str) -> str:
    """The revision of `./agents/chat.py:graph`, or of an importable module."""
    file = (settings.LANGGRAPH_CONFIG.parent / reference.rpartition(":")[0]).resolve()
    if not file.is_file():
        return ""
    return _hash(file.parent)


@cache
def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _python_files(folder):
        digest.update(str(path.relative_to(folder)).encode(errors="surrogateescape"))
        digest.update(b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:SHOWN]


def _python_files(folder: Path) -> Iterator[Path]:
    count = 0
    for place, names, files in os.walk(folder):
        names[:] = sorted(
            name for name in names if name not in SKIPPED and not name.startswith(".")
        )
        for file in sorted(file for file in files if file.endswith(".py")):
            yield Path(place, file)
            count += 1
            if count == MAX_FILES:
                return
