from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from spool.config.langgraph_json import langgraph_json
from spool.web import cors

ORIGIN = "https://chat.example"
Configure = Callable[[dict[str, Any] | None], None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Serve with this `http.cors` in langgraph.json."""

    def use(block: dict[str, Any] | None) -> None:
        monkeypatch.setenv("LANGGRAPH_HTTP", json.dumps({"cors": block}))
        langgraph_json.cache_clear()
        cors.rules.cache_clear()

    use(None)
    yield use
    monkeypatch.undo()
    langgraph_json.cache_clear()
    cors.rules.cache_clear()


def preflight(client: Client, method: str = "POST", **headers: str) -> Any:
    asked = {"origin": ORIGIN, "access-control-request-method": method, **headers}
    return client.options("/ok", headers=asked)


@pytest.fixture
def closed(settings: LazySettings, configure: Configure) -> None:
    """Require an API key."""
    settings.AUTH = ["api_key"]
    configure(None)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://app.localhost", True),
        ("http://127.0.0.1:5173", True),
        ("http://[::1]:5173", True),
        ("https://chat.example", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("null", False),
    ],
)
@pytest.mark.usefixtures("configure")
def test_an_open_server_is_open_to_pages_of_this_machine(
    client: Client, origin: str, allowed: bool
) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-private-network": "true",
    }
    response = client.options("/ok", headers=asked)

    assert response.status_code == (200 if allowed else 400)
    assert ("access-control-allow-origin" in response.headers) is allowed
    assert ("access-control-allow-private-network" in response.headers) is allowed
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.usefixtures("closed")
def test_every_origin_may_read_where_callers_show_a_key(client: Client) -> None:
    response = client.get("/ok", headers={"origin": ORIGIN})

    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    exposed = response.headers["access-control-expose-headers"]
    assert set(exposed.split(", ")) == {
        "x-pagination-total",
        "x-pagination-next",
        "content-location",
    }


@pytest.mark.usefixtures("closed")
def test_errors_are_readable_too(client: Client) -> None:
    response = client.get("/nothing-here", headers={"origin": ORIGIN})

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.usefixtures("configure")
def test_a_request_of_no_origin_gets_no_headers(client: Client) -> None:
    response = client.get("/ok")

    assert "access-control-allow-origin" not in response.headers


@pytest.mark.usefixtures("closed")
def test_a_preflight_passes_by_default(client: Client) -> None:
    response = preflight(
        client,
        "DELETE",
        **{
            "access-control-request-headers": "x-api-key, authorization",
            "access-control-request-private-network": "true",
        },
    )

    assert response.status_code == 200
    assert response.text == "OK"
    assert response.headers["access-control-allow-origin"] == "*"
    assert "DELETE" in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"]
    assert allowed == "x-api-key, authorization"
    assert response.headers["access-control-max-age"] == "600"
    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.usefixtures("configure")
def test_options_without_a_preflight_reach_the_view(client: Client) -> None:
    response = client.options("/ok", headers={"origin": ORIGIN})

    assert response.text != "OK"


def test_named_origins_come_from_the_environment(
    client: Client, configure: Configure, settings: LazySettings
) -> None:
    settings.CORS_ALLOW_ORIGINS = [ORIGIN]
    configure(None)

    friend = client.get("/ok", headers={"origin": ORIGIN})
    stranger = client.get("/ok", headers={"origin": "https://other.example"})

    assert friend.headers["access-control-allow-origin"] == ORIGIN
    assert friend.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in friend.headers["vary"]
    assert "access-control-allow-origin" not in stranger.headers


def test_a_block_falls_back_to_get_only(client: Client, configure: Configure) -> None:
    configure({"allow_origins": [ORIGIN]})

    get, post = preflight(client, "GET"), preflight(client, "POST")

    assert get.status_code == 200
    assert post.status_code == 400
    assert post.text == "Disallowed CORS method"


def test_a_block_names_what_it_refuses(client: Client, configure: Configure) -> None:
    configure({"allow_origins": ["https://other.example"]})

    response = preflight(
        client, "PUT", **{"access-control-request-headers": "x-secret"}
    )

    assert response.status_code == 400
    assert response.text == "Disallowed CORS origin, method, headers"
    assert "access-control-allow-origin" not in response.headers


def test_a_block_is_honoured_whole(client: Client, configure: Configure) -> None:
    configure(
        {
            "allow_origins": [],
            "allow_origin_regex": r"https://.*\.example",
            "allow_methods": ["*"],
            "allow_headers": ["X-Secret"],
            "allow_credentials": True,
            "expose_headers": ["x-mine"],
            "max_age": 5,
        }
    )

    asked = preflight(client, "PUT", **{"access-control-request-headers": "x-secret"})
    answer = client.get("/ok", headers={"origin": ORIGIN})

    assert asked.status_code == 200
    assert asked.headers["access-control-max-age"] == "5"
    assert "x-secret" in asked.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-expose-headers"] == "x-mine"


def test_a_regex_must_match_the_whole_origin(
    client: Client, configure: Configure
) -> None:
    configure({"allow_origin_regex": r"https://chat\.exam"})

    response = client.get("/ok", headers={"origin": ORIGIN})

    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ([], "http.cors"),
        ({"allow_origins": "*"}, "http.cors.allow_origins"),
        ({"allow_methods": [1]}, "http.cors.allow_methods"),
        ({"allow_origin_regex": "("}, "http.cors.allow_origin_regex"),
        ({"allow_origin_regex": 5}, "http.cors.allow_origin_regex"),
        ({"max_age": "600"}, "http.cors.max_age"),
    ],
)
def test_a_bad_block_stops_the_start(
    configure: Configure, block: Any, named: str
) -> None:
    configure(block)

    with pytest.raises(SystemExit, match=named):
        cors.rules()
