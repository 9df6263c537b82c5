"""Drawings of graphs, and the schemas of their input and output."""

from __future__ import annotations

import pytest

from spool.access.tests.people import Client
from spool.assistants.services import system_assistant_id
from spool.assistants.tests.making import ECHO, make

pytestmark = pytest.mark.django_db


def test_graph_is_drawn_by_id_and_by_name(alice_client: Client) -> None:
    nested = system_assistant_id("nested")

    by_id = alice_client.call("get", f"/assistants/{nested}/graph").json()
    by_name = alice_client.call("get", "/assistants/nested/graph").json()

    assert by_id == by_name
    assert [node["id"] for node in by_id["nodes"]] == [
        "__start__",
        "pre",
        "child",
        "__end__",
    ]
    assert {"source": "pre", "target": "child"} in by_id["edges"]
    child = by_id["nodes"][2]
    assert child == {"id": "child", "type": "runnable", "data": {"name": "child"}}


@pytest.mark.parametrize("xray", ["true", "1", "True"])
def test_graph_is_drawn_with_its_subgraphs(alice_client: Client, xray: str) -> None:
    drawn = alice_client.call("get", f"/assistants/nested/graph?xray={xray}").json()

    assert "child:sub_a" in [node["id"] for node in drawn["nodes"]]


@pytest.mark.parametrize("xray", ["0", "-1", "junk", "1.5", "9" * 5000])
def test_graph_refuses_other_xrays(alice_client: Client, xray: str) -> None:
    response = alice_client.call("get", f"/assistants/{ECHO}/graph?xray={xray}")

    assert response.status_code == 422
    assert response.json() == {"detail": "Invalid xray value"}


def test_schemas(alice_client: Client) -> None:
    nested = system_assistant_id("nested")

    schemas = alice_client.call("get", f"/assistants/{nested}/schemas").json()
    plain = alice_client.call("get", f"/assistants/{ECHO}/schemas").json()

    assert schemas["graph_id"] == "nested"
    assert set(schemas) == {
        "graph_id",
        "input_schema",
        "output_schema",
        "state_schema",
        "config_schema",
        "context_schema",
    }
    assert "topic" in schemas["input_schema"]["properties"]
    assert "user_name" in schemas["context_schema"]["properties"]
    assert plain["context_schema"] is None


def test_subgraphs(alice_client: Client) -> None:
    path = f"/assistants/{system_assistant_id('nested')}/subgraphs"

    every = alice_client.call("get", f"{path}?recurse=true").json()
    one = alice_client.call("get", f"{path}/child").json()
    none = alice_client.call("get", f"{path}/unknown%2Fof%7Call").json()

    assert list(every) == ["child"]
    assert "graph_id" not in every["child"]
    assert one == every
    assert none == {}


def test_a_type_without_a_schema_is_an_object(alice_client: Client) -> None:
    path = f"/assistants/{system_assistant_id('shapeless')}"

    schemas = alice_client.call("get", f"{path}/schemas").json()

    assert schemas["input_schema"] == {"title": "input", "type": "object"}
    assert schemas["config_schema"] == {}


@pytest.mark.parametrize("path", ["graph", "schemas", "subgraphs"])
def test_nothing_configurable_is_as_good_as_none(
    alice_client: Client, path: str
) -> None:
    made = make(alice_client, config={"configurable": None})

    response = alice_client.call("get", f"/assistants/{made['assistant_id']}/{path}")

    assert response.status_code == 200


@pytest.mark.parametrize("path", ["graph", "graph?xray=true", "schemas", "subgraphs"])
def test_a_graph_that_cannot_be_made_is_named(alice_client: Client, path: str) -> None:
    unmakeable = system_assistant_id("unmakeable")

    response = alice_client.call("get", f"/assistants/{unmakeable}/{path}")

    assert response.status_code == 422
    assert response.json() == {
        "detail": "graph 'unmakeable' could not be built: RuntimeError: no model today"
    }


def test_drawing_a_graph_times_out(
    alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.assistants.graphs.BUILD_TIMEOUT_SECS", 0.01)

    response = alice_client.call("get", "/assistants/waiting/graph")

    assert response.status_code == 422
    assert (
        "graph 'waiting' could not be built: TimeoutError" in response.json()["detail"]
    )
