"""Warnings name keys of langgraph.json that have no effect, including nested ones."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from spool.config.langgraph_json import langgraph_json, warn_of_ignored_keys


@pytest.fixture(autouse=True)
def _read_again() -> Iterator[None]:
    langgraph_json.cache_clear()
    yield
    langgraph_json.cache_clear()


@pytest.mark.parametrize(
    ("variable", "given", "named"),
    [
        ("LANGGRAPH_STORE", {"path": "./s.py:store", "ttl": {}}, "store.path"),
        ("LANGGRAPH_WEBHOOKS", {"urls": {}, "url": {}}, "webhooks.urls"),
        ("LANGGRAPH_CHECKPOINTER", {"backend": "mongo"}, "checkpointer.backend"),
    ],
)
def test_what_has_no_effect_is_named(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    given: dict[str, object],
    named: str,
) -> None:
    monkeypatch.setenv(variable, json.dumps(given))

    warn_of_ignored_keys()

    (line,) = caplog.messages
    assert line.endswith(f": {named!r} is not supported and has no effect")
