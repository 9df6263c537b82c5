from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.people import Client, Person
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.protocols.mcp import tools
from spool.protocols.mcp.tests.conftest import request_of
from spool.protocols.mcp.tools import (
    UnknownTool,
    find_tool,
    list_digest,
    list_tools,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _assistants(db: None) -> None:
    register_system_assistants()


def names(person: Person) -> set[str]:
    return {tool.name for tool in list_tools(request_of(person), 0)[0]}


def make(client: Client, **assistant: Any) -> str:
    made = client.call("post", "/assistants", {"graph_id": "echo", **assistant})
    return str(made.json()["assistant_id"])


def test_tools_are_the_systems_assistants_and_ones_own(
    alice: Person, bob: Person, alice_client: Client
) -> None:
    make(alice_client, name="alices own")

    assert names(alice) - names(bob) == {"alices_own"}
    assert "echo" in names(bob)
    with pytest.raises(UnknownTool):
        find_tool(request_of(bob), "alices_own")


def test_anothers_assistant_of_the_same_name_changes_no_name(
    alice: Person, bob: Person, alice_client: Client
) -> None:
    ours = make(alice_client, name="echo")

    assert "echo" in names(bob)
    assert f"echo_{ours[:8]}" in names(alice)
    assert "echo" not in names(alice)
    assert str(find_tool(request_of(alice), f"echo_{ours[:8]}").assistant.id) == ours


def test_an_assistant_whose_graph_is_gone_is_no_tool(alice: Person) -> None:
    Assistant.objects.create(graph_id="gone", name="gone", metadata={"owner": "alice"})

    assert "gone" not in names(alice)


def test_pages_leave_none_out(
    alice: Person, alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "PAGE", 10)
    found: list[str] = []
    offset: int | None = 0

    while offset is not None:
        page, offset = list_tools(request_of(alice), offset)
        found += [tool.name for tool in page]

    assert len(found) == len(set(found)) == Assistant.objects.count()
    assert list_tools(request_of(alice), 10_000) == ([], None)


def test_a_description_is_the_assistants_or_the_graphs(
    alice: Person, alice_client: Client
) -> None:
    make(alice_client, graph_id="chat", name="mine", description="Says it my way.")
    make(alice_client, graph_id="chat", name="plain")
    make(alice_client, graph_id="echo", name="bare")

    described = {t.name: t.description for t in list_tools(request_of(alice), 0)[0]}

    assert described["mine"] == "Says it my way."
    assert described["plain"] == "Streams four words."
    assert described["bare"] == "Run the assistant bare."


def test_ones_list_changes_with_ones_own_assistants(
    alice: Person, bob: Person, alice_client: Client
) -> None:
    def digests() -> list[str]:
        return [list_digest(request_of(person)) for person in (alice, bob)]

    before = digests()
    ours = make(alice_client, name="new")
    made = digests()
    alice_client.call("patch", f"/assistants/{ours}", {"name": "newer"})
    renamed = digests()
    alice_client.call("delete", f"/assistants/{ours}")
    deleted = digests()

    assert len({before[0], made[0], renamed[0]}) == 3
    assert deleted[0] == before[0]
    assert {before[1], made[1], renamed[1], deleted[1]} == {before[1]}
