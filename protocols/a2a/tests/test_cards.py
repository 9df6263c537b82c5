"""Cards describe an agent to callers who may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client as Anyone

from spool.access.tests.conftest import Open
from spool.access.tests.people import Client
from spool.assistants.services import system_assistant_id
from spool.protocols.a2a.tests.calling import Caller, Failed

pytestmark = pytest.mark.django_db(transaction=True)

CHAT = system_assistant_id("chat")
WELL_KNOWN = "/.well-known/agent-card.json"


@pytest.fixture
def alices(alice_client: Client) -> str:
    """The id of an assistant of alice's."""
    body = {"graph_id": "chat", "name": "alice's", "description": "Only hers"}
    made: str = alice_client.call("post", "/assistants", body).json()["assistant_id"]
    return made


@pytest.mark.usefixtures("api_keys")
@pytest.mark.parametrize(
    "path",
    [
        f"{WELL_KNOWN}?assistant_id={CHAT}",
        f"/a2a/{CHAT}{WELL_KNOWN}",
        f"/a2a/chat{WELL_KNOWN}",
        "/a2a/chat",
    ],
)
def test_cards_of_graphs_are_for_everyone(client: Anyone, path: str) -> None:
    card = client.get(path).json()

    assert card["name"] == "chat"
    assert card["capabilities"]["extendedAgentCard"] is True
    assert card["securitySchemes"]["ApiKey"]["apiKeySecurityScheme"] == {
        "location": "header",
        "name": "x-api-key",
    }
    assert card["securityRequirements"] == [{"schemes": {"ApiKey": {}}}]


@pytest.mark.parametrize("path", ["/a2a/{}", f"{WELL_KNOWN}?assistant_id={{}}"])
def test_cards_of_owners_are_theirs(
    client: Anyone,
    alice_client: Client,
    bob_client: Client,
    alices: str,
    path: str,
) -> None:
    found = path.format(alices)

    assert alice_client.call("get", found).json()["description"] == "Only hers"
    assert bob_client.call("get", found).status_code == 404
    assert client.get(found).status_code == 404


def test_the_extended_card_has_the_schemas(alice_client: Client) -> None:
    card = Caller(alice_client, "slow").call("GetExtendedAgentCard")

    [schemas] = card["capabilities"]["extensions"]
    assert {"n", "delay", "log"} <= set(schemas["params"]["input"]["properties"])
    assert "delay" in card["skills"][0]["description"]


def test_there_is_no_extended_card_without_authentication(
    alice_client: Client, settings: LazySettings
) -> None:
    settings.AUTH = []

    with pytest.raises(Failed, match="not configured"):
        Caller(alice_client).call("GetExtendedAgentCard")
    assert "securitySchemes" not in alice_client.get("/a2a/chat").json()


async def test_links_have_the_prefix_and_the_public_url(
    open_server: Open, http_options: Callable[..., None], settings: LazySettings
) -> None:
    http_options(mount_prefix="/agents")
    async with open_server() as http:
        within = await http.get("/agents/a2a/chat")
        settings.PUBLIC_URL = "https://public.example"
        behind = await http.get("/agents/a2a/chat")
        outside = await http.get("/a2a/chat")

    assert _urls(within) == {f"http://spool.example/agents/a2a/{CHAT}"}
    assert _urls(behind) == {f"https://public.example/agents/a2a/{CHAT}"}
    assert outside.status_code == 404


@pytest.mark.parametrize("path", ["/a2a/chat", f"/a2a/chat{WELL_KNOWN}", WELL_KNOWN])
def test_all_of_it_can_be_turned_off(
    client: Anyone, http_options: Callable[..., None], path: str
) -> None:
    http_options(disable_a2a=True)

    for answer in (client.get(path), client.post(path, {})):
        assert answer.status_code == 404
        assert answer.json() == {"detail": "Not Found"}


def test_notifications_that_are_off_are_not_offered(
    client: Anyone, http_options: Callable[..., None]
) -> None:
    http_options(disable_webhooks=True)

    assert client.get("/a2a/chat").json()["capabilities"]["pushNotifications"] is False


def _urls(answer: Any) -> set[str]:
    return {one["url"] for one in answer.json()["supportedInterfaces"]}
