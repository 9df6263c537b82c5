from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.test import Client as Browser

from spool.config.langgraph_json import langgraph_json

METADATA = "/.well-known/oauth-protected-resource"
ISSUER = "https://login.example.com/"


@pytest.fixture
def issuer(settings: LazySettings) -> None:
    settings.AUTH = ["jwt"]
    settings.JWT_ISSUER = ISSUER
    settings.JWT_SECRET = "a secret of thirty-two characters"


@pytest.fixture
def disabled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LANGGRAPH_HTTP", json.dumps({"disable_mcp": True}))
    langgraph_json.cache_clear()
    yield
    monkeypatch.undo()
    langgraph_json.cache_clear()


@pytest.mark.usefixtures("issuer")
@pytest.mark.parametrize("path", [METADATA, f"{METADATA}/mcp"])
def test_the_issuer_is_named(client: Browser, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.json() == {
        "resource": "http://testserver/mcp",
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
    }


@pytest.mark.usefixtures("issuer")
def test_links_begin_with_the_public_url(
    client: Browser, settings: LazySettings
) -> None:
    settings.PUBLIC_URL = "https://agents.example.com/"

    assert client.get(METADATA).json()["resource"] == "https://agents.example.com/mcp"


@pytest.mark.usefixtures("issuer")
def test_who_has_to_log_in_is_told_where(client: Browser) -> None:
    answer = client.post("/mcp", {}, content_type="application/json")

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == (
        f'Bearer resource_metadata="http://testserver{METADATA}/mcp"'
    )


@pytest.mark.usefixtures("api_keys")
def test_without_an_issuer_there_is_none_to_name(client: Browser) -> None:
    challenge = client.post("/mcp", {}, content_type="application/json")

    assert client.get(METADATA).status_code == 404
    assert challenge["WWW-Authenticate"] == "Bearer"


@pytest.mark.django_db
@pytest.mark.usefixtures("issuer", "disabled")
@pytest.mark.parametrize("path", ["/mcp", METADATA, f"{METADATA}/mcp"])
def test_all_of_it_can_be_taken_away(client: Browser, path: str) -> None:
    method = client.post if path == "/mcp" else client.get

    assert method(path).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("version", [None, "2026-07-28"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [("[" + "{}," * 200 + "{}]", 413), ("[" * 20 + "]" * 20, 422)],
)
def test_values_and_depth_are_bounded(
    client: Browser,
    settings: LazySettings,
    version: str | None,
    arguments: str,
    status: int,
) -> None:
    settings.REQUEST_MAX_VALUES, settings.REQUEST_MAX_DEPTH = 100, 10
    headers = {"MCP-Protocol-Version": version} if version else {}
    call = (
        f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {arguments}}}'
    )

    answer = client.post("/mcp", call, content_type="application/json", headers=headers)

    assert answer.status_code == status
    assert "REQUEST_MAX_" in answer.json()["detail"]
