from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from spool.access.tests.people import Client
from spool.assistants.models import Assistant, AssistantVersion
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.making import ECHO, make

pytestmark = pytest.mark.django_db


# --- Create -------------------------------------------------------------------------
def test_create_answers_with_the_assistant(alice_client: Client) -> None:
    body = {
        "graph_id": "echo",
        "name": "Mine",
        "description": "It echoes.",
        "metadata": {"kind": "test"},
        "config": {"tags": ["a"], "recursion_limit": 7},
        "context": {"model": "m"},
    }

    response = alice_client.call("post", "/assistants", body)

    assert response.status_code == 200
    assistant = response.json()
    assert assistant == {
        "assistant_id": assistant["assistant_id"],
        "graph_id": "echo",
        "config": {
            "tags": ["a"],
            "recursion_limit": 7,
            "configurable": {"model": "m"},
        },
        "context": {"model": "m"},
        "metadata": {"kind": "test", "owner": "alice"},
        "name": "Mine",
        "description": "It echoes.",
        "version": 1,
        "created_at": assistant["created_at"],
        "updated_at": assistant["updated_at"],
    }
    assert UUID(assistant["assistant_id"]).version == 4


def test_create_takes_an_id_and_has_defaults(alice_client: Client) -> None:
    assistant_id = str(uuid4())
    nulls = dict.fromkeys(
        ["config", "context", "metadata", "if_exists", "name", "description"]
    )

    made = make(alice_client, assistant_id=assistant_id, **nulls)

    assert made["assistant_id"] == assistant_id
    assert made["name"] == "Untitled"
    assert (made["config"], made["context"], made["description"]) == ({}, {}, None)
    assert made["metadata"] == {"owner": "alice"}


def test_create_mirrors_configurable_into_context(alice_client: Client) -> None:
    made = make(alice_client, config={"configurable": {"model": "m"}})

    assert made["context"] == {"model": "m"}
    assert made["config"] == {"configurable": {"model": "m"}}


def test_create_refuses_context_beside_configurable(alice_client: Client) -> None:
    body = {
        "graph_id": "echo",
        "config": {"configurable": {"a": 1}},
        "context": {"b": 2},
    }

    response = alice_client.call("post", "/assistants", body)

    assert response.status_code == 400
    assert "context" in response.json()["detail"]


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"graph_id": None}, "graph_id: "),
        ({"graph_id": ["echo"]}, "graph_id: "),
        ({"assistant_id": "nonsense"}, "assistant_id: "),
        ({"assistant_id": 5}, "assistant_id: "),
        ({"config": []}, "config: must be an object"),
        ({"config": {"configurable": ["a"]}}, "config: configurable: "),
        ({"config": {"tags": "a"}}, "config: tags: "),
        ({"config": {"tags": [5]}}, "config: tags: "),
        ({"config": {"recursion_limit": "many"}}, "config: recursion_limit: "),
        ({"config": {"recursion_limit": True}}, "config: recursion_limit: "),
        ({"config": {"recursion_limit": 0}}, "config: recursion_limit: "),
        ({"config": {"max_concurrency": "x"}}, "config: max_concurrency: "),
        ({"config": {"run_name": 5}}, "config: run_name: "),
        ({"context": "c"}, "context: must be an object"),
        ({"metadata": [1]}, "metadata: must be an object"),
        ({"if_exists": "overwrite"}, "if_exists: "),
        ({"name": {}}, "name: "),
    ],
)
def test_create_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any], detail: str
) -> None:
    response = alice_client.call("post", "/assistants", {"graph_id": "echo", **wrong})

    assert response.status_code == 422
    assert detail in response.json()["detail"]


@pytest.mark.parametrize("path", ["", "/search", "/count", f"/{ECHO}/versions"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"1"])
def test_a_body_must_be_a_json_object(
    alice_client: Client, path: str, body: bytes
) -> None:
    response = alice_client.post(
        f"/assistants{path}", body, content_type="application/json"
    )

    assert response.status_code == 422
    assert "JSON" in response.json()["detail"]


def test_create_names_the_graphs_there_are(alice_client: Client) -> None:
    response = alice_client.call("post", "/assistants", {"graph_id": "unknown"})

    assert response.status_code == 404
    assert "unknown" in response.json()["detail"]
    assert "echo" in response.json()["detail"]


def test_create_refuses_an_id_that_exists(alice_client: Client) -> None:
    first = make(alice_client, name="First")
    again = {"graph_id": "human", "assistant_id": first["assistant_id"]}

    refused = alice_client.call("post", "/assistants", again)
    kept = alice_client.call(
        "post", "/assistants", {**again, "if_exists": "do_nothing"}
    )

    assert refused.status_code == 409
    assert refused.json() == {
        "detail": f"Assistant {first['assistant_id']} already exists"
    }
    assert kept.status_code == 200
    assert kept.json() == first
    assert AssistantVersion.objects.filter(assistant=first["assistant_id"]).count() == 1


def test_create_hides_other_owners_assistants(
    alice_client: Client, bob_client: Client
) -> None:
    first = make(alice_client)
    again = {"graph_id": "echo", "assistant_id": first["assistant_id"]}

    response = bob_client.call(
        "post", "/assistants", {**again, "if_exists": "do_nothing"}
    )

    assert response.status_code == 409


def test_clients_can_not_write_the_owner(
    alice_client: Client, bob_client: Client
) -> None:
    made = make(bob_client, metadata={"owner": "alice"})

    changed = bob_client.call(
        "patch",
        f"/assistants/{made['assistant_id']}",
        {"metadata": {"owner": "alice", "a": 1}},
    )

    assert made["metadata"] == {"owner": "bob"}
    assert changed.json()["metadata"] == {"owner": "bob", "a": 1}


# --- Get ----------------------------------------------------------------------------
def test_get(alice_client: Client) -> None:
    made = make(alice_client)

    response = alice_client.call("get", f"/assistants/{made['assistant_id']}")

    assert response.status_code == 200
    assert response.json() == made


def test_system_assistants_are_visible_to_all(
    alice_client: Client, bob_client: Client
) -> None:
    for client in (alice_client, bob_client):
        response = client.call("get", f"/assistants/{ECHO}")

        assert response.status_code == 200
        assert response.json()["name"] == "echo"
        assert response.json()["metadata"] == {"created_by": "system"}


def test_system_assistants_follow_the_configuration(alice_client: Client) -> None:
    def described() -> tuple[Any, Any]:
        head = alice_client.call("get", f"/assistants/{ECHO}").json()
        [first] = AssistantVersion.objects.filter(assistant=ECHO, version=1)
        return head["description"], first.description

    found = described()
    # Set it as an earlier langgraph.json did.
    for rows in (Assistant.objects.filter(pk=ECHO), AssistantVersion.objects):
        rows.update(description="In other words.")
    register_system_assistants()
    followed = described()
    # Change it as an operator would.
    Assistant.objects.filter(pk=ECHO).update(version=2, description="Ours.")
    register_system_assistants()

    assert followed == found
    assert described()[0] == "Ours."


def test_the_start_names_who_took_a_graphs_id(
    alice_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    Assistant.objects.filter(pk=ECHO).delete()
    # This was possible before `echo` was served.
    make(alice_client, assistant_id=str(ECHO))

    register_system_assistants()

    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert f"assistant {ECHO} of 'alice'" in record.getMessage()


NO_ASSISTANT: list[tuple[str, str, Any, str]] = [
    ("get", "", None, "Not Found"),
    ("patch", "", {}, "Assistant {id} not found"),
    ("delete", "", None, "Assistant with ID {id} not found"),
    ("post", "/versions", {}, "Assistant {id} not found"),
    ("post", "/latest", {"version": 1}, "Assistant {id} not found"),
    ("get", "/graph", None, "Not Found"),
    ("get", "/schemas", None, "Not Found"),
    ("get", "/subgraphs", None, "Not Found"),
    ("get", "/subgraphs/child", None, "Not Found"),
]


@pytest.mark.parametrize(("method", "path", "body", "detail"), NO_ASSISTANT)
def test_a_missing_assistant(
    alice_client: Client, method: str, path: str, body: Any, detail: str
) -> None:
    missing = uuid4()

    response = alice_client.call(method, f"/assistants/{missing}{path}", body)

    assert response.status_code == 404
    assert response.json() == {"detail": detail.format(id=missing)}


@pytest.mark.parametrize(("method", "path", "body", "detail"), NO_ASSISTANT)
def test_another_owners_assistant_looks_missing(
    alice_client: Client,
    bob_client: Client,
    method: str,
    path: str,
    body: Any,
    detail: str,
) -> None:
    theirs = make(alice_client)["assistant_id"]

    response = bob_client.call(method, f"/assistants/{theirs}{path}", body)

    assert response.status_code == 404
    assert response.json() == {"detail": detail.format(id=theirs)}
    assert alice_client.call("get", f"/assistants/{theirs}").json()["version"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (method, path, body)
        for method, path, body, _ in NO_ASSISTANT
        if path != "/graph"
    ],
)
def test_a_path_takes_ids_only(
    alice_client: Client, method: str, path: str, body: Any
) -> None:
    response = alice_client.call(method, f"/assistants/echo{path}", body)

    assert response.status_code == 422
    assert response.json() == {"detail": "Invalid assistant ID: must be a UUID"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("patch", "", {"name": "Taken"}),
        ("delete", "", None),
        ("post", "/latest", {"version": 1}),
    ],
)
def test_tenants_leave_the_system_assistants_alone(
    alice_client: Client, method: str, path: str, body: Any
) -> None:
    response = alice_client.call(method, f"/assistants/{ECHO}{path}", body)

    assert response.status_code == 404
    system = Assistant.objects.get(pk=ECHO)
    assert (system.name, system.version) == ("echo", 1)


# --- Delete -------------------------------------------------------------------------
def test_delete(alice_client: Client) -> None:
    made = make(alice_client)
    path = f"/assistants/{made['assistant_id']}"

    first = alice_client.call("delete", path)
    second = alice_client.call("delete", path)

    assert first.status_code == 204
    assert first.content == b""
    assert second.status_code == 404
    assert not AssistantVersion.objects.filter(assistant=made["assistant_id"]).exists()


# --- A graph that is no longer served ------------------------------------------------
def test_an_assistant_without_its_graph_is_seen_but_not_used(
    alice_client: Client,
) -> None:
    made = make(alice_client, name="Orphan")
    assistant_id = made["assistant_id"]
    Assistant.objects.filter(pk=assistant_id).update(graph_id="gone")

    read = alice_client.call("get", f"/assistants/{assistant_id}")
    schemas = alice_client.call("get", f"/assistants/{assistant_id}/schemas")
    run = alice_client.call("post", "/runs/wait", {"assistant_id": assistant_id})

    assert read.json()["graph_id"] == "gone"
    for refused in (schemas, run):
        assert refused.status_code == 422
        assert "graph 'gone' is no longer in langgraph.json" in refused.json()["detail"]
