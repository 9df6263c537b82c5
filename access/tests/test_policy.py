"""Stamps and filters of the built-in policy; the routes are in `test_isolation`."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Q
from django.http import HttpRequest
from django.test import Client as Browser
from django.test import RequestFactory
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from spool.access.policy import EVERYTHING, authorize
from spool.access.tests.people import Client, Person
from spool.assistants.models import Assistant
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


def request_of(person: Person) -> HttpRequest:
    return RequestFactory().get("/", headers={"x-api-key": person.key})


def test_without_configuration_all_callers_see_everything() -> None:
    value = {"metadata": {"owner": "another"}}

    allowed = authorize(RequestFactory().get("/"), "threads.create", value)

    assert allowed.scope == EVERYTHING
    assert allowed.value == {"metadata": {"owner": "another"}}


def test_the_stamp_goes_into_the_value_that_is_returned(alice: Person) -> None:
    value = {"metadata": {"owner": "bob", "kind": "x"}}

    allowed = authorize(request_of(alice), "threads.create", value)

    scope = allowed.scope
    assert allowed.value == {"metadata": {"owner": "alice", "kind": "x"}}
    assert value == {"metadata": {"owner": "bob", "kind": "x"}}
    assert (scope.owner, scope.rows) == ("alice", Q(owner="alice"))
    assert scope.identity == "alice"


@pytest.mark.parametrize("action", ["read", "search", "delete"])
def test_what_only_looks_is_not_stamped(alice: Person, action: str) -> None:
    value: dict[str, Any] = {"metadata": {}}

    allowed = authorize(request_of(alice), f"threads.{action}", value)

    assert allowed.value == value == {"metadata": {}}


def test_a_view_without_authentication_may_do_nothing(alice: Person) -> None:
    request = Request(request_of(alice))  # No authentication classes.

    with pytest.raises(NotAuthenticated):
        authorize(request, "threads.read", {})


def test_create_overwrites_the_owner(alice_client: Client) -> None:
    body = {"metadata": {"owner": "bob", "kind": "x"}}

    made = alice_client.call("post", "/threads", body).json()

    assert made["metadata"] == {"owner": "alice", "kind": "x"}
    assert Thread.objects.get().owner == "alice"


@pytest.mark.parametrize("owner", ["bob", None, {"a": 1}, ""])
def test_patch_cannot_change_the_owner(alice_client: Client, owner: Any) -> None:
    thread = alice_client.call("post", "/threads", {}).json()["thread_id"]
    assistant = alice_client.call("post", "/assistants", {"graph_id": "chat"}).json()
    body = {"metadata": {"owner": owner, "kind": "x"}}

    alice_client.call("patch", f"/threads/{thread}", body)
    alice_client.call("patch", f"/assistants/{assistant['assistant_id']}", body)

    expected = {"owner": "alice", "kind": "x"}
    assert Thread.objects.get().metadata == expected
    assert Assistant.objects.get(is_system=False).metadata == expected


def test_an_old_version_brings_no_old_owner_back(alice_client: Client) -> None:
    assistant = alice_client.call("post", "/assistants", {"graph_id": "chat"}).json()
    path = f"/assistants/{assistant['assistant_id']}"
    row = Assistant.objects.get(is_system=False)
    row.versions.update(metadata={"owner": "bob"})  # From before there were keys.
    alice_client.call("patch", path, {})

    alice_client.call("post", f"{path}/latest", {"version": 1})

    row.refresh_from_db()
    assert (row.version, row.owner) == (1, "alice")


def test_system_assistants_are_there_for_all_to_read(
    bob_client: Client, system_assistant: Assistant
) -> None:
    path = f"/assistants/{system_assistant.id}"

    found = bob_client.call("post", "/assistants/search", {"limit": 1000}).json()

    assert str(system_assistant.id) in {row["assistant_id"] for row in found}
    assert bob_client.get(path).status_code == 200
    assert system_assistant.metadata == {"created_by": "system"}
    assert system_assistant.owner == ""


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("patch", "", {"name": "mine"}),
        ("post", "/latest", {"version": 1}),
        ("delete", "", None),
    ],
)
def test_system_assistants_can_not_be_changed(
    bob_client: Client, system_assistant: Assistant, method: str, path: str, body: Any
) -> None:
    response = bob_client.call(method, f"/assistants/{system_assistant.id}{path}", body)

    assert response.status_code == 404
    assert Assistant.objects.filter(pk=system_assistant.pk, version=1).exists()


def test_without_configuration_metadata_is_the_clients_own(client: Browser) -> None:
    body = {"metadata": {"owner": "another"}}

    made = client.post("/threads", body, content_type="application/json").json()

    assert made["metadata"] == {"owner": "another"}
