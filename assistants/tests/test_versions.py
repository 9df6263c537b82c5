"""Changes of assistants, each of which is a version."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.people import Client
from spool.assistants.models import AssistantVersion
from spool.assistants.tests.making import ECHO, make

pytestmark = pytest.mark.django_db


# --- Update -------------------------------------------------------------------------
def test_update_makes_a_version(alice_client: Client) -> None:
    made = make(alice_client, name="One", metadata={"a": 1, "b": {"c": 2}})
    path = f"/assistants/{made['assistant_id']}"
    changes = {
        "graph_id": "human",
        "name": "Two",
        "description": "Asks.",
        "metadata": {"b": {}, "d": None},
        "context": {"x": 1},
    }

    response = alice_client.call("patch", path, changes)

    assert response.status_code == 200
    changed = response.json()
    assert changed == {
        **made,
        **changes,
        "metadata": {"a": 1, "b": {}, "d": None, "owner": "alice"},
        "config": {"configurable": {"x": 1}},
        "version": 2,
        "updated_at": changed["updated_at"],
    }
    assert changed["updated_at"] > made["updated_at"]
    assert alice_client.call("get", path).json() == changed


@pytest.mark.parametrize(
    "body", [{}, {"name": None, "config": None, "metadata": None, "graph_id": None}]
)
def test_update_with_nothing_makes_a_version_too(
    alice_client: Client, body: dict[str, Any]
) -> None:
    made = make(alice_client, name="One", context={"a": 1})

    response = alice_client.call("patch", f"/assistants/{made['assistant_id']}", body)

    changed = response.json()
    assert changed["version"] == 2
    assert {**changed, "version": 1, "updated_at": made["updated_at"]} == made


def test_update_of_the_context_keeps_the_rest_of_the_config(
    alice_client: Client,
) -> None:
    made = make(alice_client, config={"tags": ["a"], "configurable": {"old": 1}})

    response = alice_client.call(
        "patch", f"/assistants/{made['assistant_id']}", {"context": {"new": 2}}
    )

    assert response.json()["context"] == {"new": 2}
    assert response.json()["config"] == {"tags": ["a"], "configurable": {"new": 2}}


def test_update_replaces_the_config(alice_client: Client) -> None:
    made = make(alice_client, config={"tags": ["a"], "configurable": {"old": 1}})

    response = alice_client.call(
        "patch",
        f"/assistants/{made['assistant_id']}",
        {"config": {"configurable": {"new": 2}}},
    )

    assert response.json()["context"] == {"new": 2}
    assert response.json()["config"] == {"configurable": {"new": 2}}


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"graph_id": "unknown"}, 404),
        ({"config": {"configurable": {"a": 1}}, "context": {"b": 1}}, 400),
        ({"metadata": "a"}, 422),
        ({"config": [1]}, 422),
        ({"name": ["a"]}, 422),
    ],
)
def test_update_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any], status: int
) -> None:
    made = make(alice_client)

    response = alice_client.call("patch", f"/assistants/{made['assistant_id']}", wrong)

    assert response.status_code == status
    assert AssistantVersion.objects.filter(assistant=made["assistant_id"]).count() == 1


# --- Versions -----------------------------------------------------------------------
def test_versions_are_kept_as_they_were(alice_client: Client) -> None:
    made = make(alice_client, name="One", metadata={"n": 1})
    path = f"/assistants/{made['assistant_id']}"
    for number in (2, 3):
        alice_client.call(
            "patch", path, {"name": str(number), "metadata": {"n": number}}
        )

    every = alice_client.call("post", f"{path}/versions", {}).json()
    some = alice_client.call(
        "post", f"{path}/versions", {"limit": 1, "offset": 1}
    ).json()
    first = alice_client.call("post", f"{path}/versions", {"metadata": {"n": 1}}).json()
    defaults = alice_client.call(
        "post", f"{path}/versions", {"limit": None, "offset": None, "metadata": None}
    ).json()

    assert [version["version"] for version in every] == [3, 2, 1]
    assert some == every[1:2]
    assert first == every[2:]
    assert defaults == every
    assert "updated_at" not in first[0]
    assert first[0]["name"] == "One"
    assert first[0]["assistant_id"] == made["assistant_id"]


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"metadata": []}]
)
def test_versions_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    response = alice_client.call("post", f"/assistants/{ECHO}/versions", wrong)

    assert response.status_code == 422
    assert next(iter(wrong)) in response.json()["detail"]


def test_latest_goes_back_to_a_version(alice_client: Client) -> None:
    made = make(alice_client, name="One", context={"n": 1}, metadata={"n": 1})
    path = f"/assistants/{made['assistant_id']}"
    changes = {"name": "Two", "context": {"n": 2}, "metadata": {"n": 2}}
    alice_client.call(
        "patch", path, {**changes, "graph_id": "human", "description": "d"}
    )

    back = alice_client.call("post", f"{path}/latest", {"version": 1}).json()
    on = alice_client.call("patch", path, {"name": "Three"}).json()

    assert {**back, "updated_at": made["updated_at"]} == made
    assert on["version"] == 3
    assert on["context"] == {"n": 1}


def test_latest_needs_a_version_that_exists(alice_client: Client) -> None:
    made = make(alice_client)
    path = f"/assistants/{made['assistant_id']}/latest"

    missing = alice_client.call("post", path, {"version": 2})
    malformed = alice_client.call("post", path, {"version": "two"})

    assert missing.status_code == 404
    assert missing.json() == {
        "detail": f"Version 2 not found for assistant {made['assistant_id']}"
    }
    assert malformed.status_code == 422
