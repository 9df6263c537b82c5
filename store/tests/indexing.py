"""Facts to be found by meaning, and the calls of the index's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spool.config.user_objects import load_object
from spool.store import index
from spool.store.reindex import reindex
from spool.store.tests import embedding
from spool.store.tests.clients import Client

EMBEDDING = Path(embedding.__file__)
FACTS = {
    "tea": "alice likes green tea",
    "coffee": "bob drinks black coffee",
    "cake": "chocolate cake with tea",
}

Configure = Callable[..., None]


def asked() -> list[list[str]]:
    """The texts of each call of the model, which the server loads as another module."""
    return list_of("asked")


def list_of(name: str) -> list[Any]:
    found: list[Any] = load_object(f"{EMBEDDING}:{name}")
    return found


def put_facts(client: Client, *namespace: str) -> None:
    for key, text in FACTS.items():
        client.put_item([*(namespace or ("facts",))], key, {"text": text})


def reindexed() -> list[tuple[int, int]]:
    """Re-index. Return the progress that was reported."""
    told: list[tuple[int, int]] = []
    current = index.index_config()
    assert current
    reindex(current, report=lambda done, total: told.append((done, total)), batch=2)
    return told
