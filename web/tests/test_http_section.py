"""`http` of langgraph.json: values that a start refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from spool.config.langgraph_json import langgraph_json
from spool.web.mounting import check_routes


@pytest.fixture(autouse=True)
def _read_again() -> Iterator[None]:
    langgraph_json.cache_clear()
    yield
    langgraph_json.cache_clear()


def complaints(monkeypatch: pytest.MonkeyPatch, **http: Any) -> list[str]:
    monkeypatch.setenv("LANGGRAPH_HTTP", json.dumps(http))
    langgraph_json.cache_clear()
    return [message.msg for message in check_routes()]


@pytest.mark.parametrize(
    "name", ["disable_store", "disable_webhooks", "enable_custom_route_auth"]
)
@pytest.mark.parametrize("value", ["true", 1, []])
def test_a_switch_is_on_or_off(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    assert complaints(monkeypatch, **{name: True}) == []
    assert complaints(monkeypatch, **{name: None}) == []
    assert complaints(monkeypatch, **{name: value}) == [
        f"langgraph.json: http.{name} must be true or false, not {value!r}"
    ]


@pytest.mark.parametrize("prefix", ["/a b", "a?b", "/a//b", "/a/../b", "%41", "/ü", 5])
def test_a_prefix_is_a_path(monkeypatch: pytest.MonkeyPatch, prefix: Any) -> None:
    (complaint,) = complaints(monkeypatch, mount_prefix=prefix)

    assert "http.mount_prefix" in complaint


@pytest.mark.parametrize("prefix", ["", "/", "spool", "/a/b.c/", "/~x_1-2"])
def test_a_path_may_be_a_prefix(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    assert complaints(monkeypatch, mount_prefix=prefix) == []
