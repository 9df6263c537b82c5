from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from spool.access.policy import EVERYTHING
from spool.assistants.assistant_request import AssistantChanges, NewAssistant
from spool.assistants.models import Assistant
from spool.assistants.services import create_assistant, update_assistant
from spool.runs.models import Pause

pytestmark = pytest.mark.django_db

LIST = "/admin/assistants/assistant/"


def make(name: str, metadata: dict[str, Any]) -> Assistant:
    new = NewAssistant("human", name=name, metadata=metadata)
    return create_assistant(EVERYTHING, new)


def page(assistant: Assistant) -> str:
    return reverse("admin:assistants_assistant_change", args=[assistant.pk])


def listed(client: Client, **query: str) -> set[str]:
    response = client.get(LIST, query)
    assert response.status_code == 200
    return {assistant.name for assistant in response.context["cl"].result_list}


def test_the_list_finds_assistants(admin_client: Client) -> None:
    mine = make("Mine", {"owner": "alice", "n": 1})
    make("Other", {"owner": "bob"})

    assert {"Mine", "Other", "echo"} <= listed(admin_client)
    assert listed(admin_client, q="mine") == {"Mine"}
    assert listed(admin_client, q="bob") == {"Other"}
    assert listed(admin_client, q="n=1") == {"Mine"}
    assert listed(admin_client, q=str(mine.pk)) == {"Mine"}
    assert listed(admin_client, q="human") == {"Mine", "Other", "human"}
    assert "Mine" not in listed(admin_client, is_system__exact="1")


@pytest.mark.parametrize("term", ["bob", "human"])
def test_names_are_looked_through_only_for_what_is_nothing_else(
    admin_client: Client, term: str
) -> None:
    make("Bob, a human", {"owner": "alice"})
    make("Other", {"owner": "bob"})

    with CaptureQueriesContext(connection) as queries:
        listed(admin_client, q=term)
    with CaptureQueriesContext(connection) as others:
        assert listed(admin_client, q="a hum") == {"Bob, a human"}

    assert not any("UPPER" in query["sql"] for query in queries)
    assert any("UPPER" in query["sql"] for query in others)


def test_an_assistant_is_shown_with_its_versions(admin_client: Client) -> None:
    mine = make("First name", {})
    update_assistant(
        Assistant.objects.all(),
        mine.pk,
        AssistantChanges(
            name="Second name", metadata={"a": "<i>"}, context={"model": "m"}
        ),
    )

    text = admin_client.get(page(mine)).content.decode()

    assert "First name" in text
    assert "Second name" in text
    assert "&lt;i&gt;" in text
    assert "not served" not in text
    assert 'name="_save"' not in text


def test_an_assistant_without_its_graph_is_marked(admin_client: Client) -> None:
    mine = make("Mine", {})
    Assistant.objects.filter(pk=mine.pk).update(graph_id="gone")

    assert "not served" in admin_client.get(LIST).content.decode()


def test_nothing_is_edited(admin_client: Client) -> None:
    mine = make("Mine", {})

    assert admin_client.post(page(mine), {"name": "Taken"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403
    mine.refresh_from_db()
    assert mine.name == "Mine"


def test_an_assistant_is_deleted(admin_client: Client) -> None:
    mine = make("Mine", {})

    path = reverse("admin:assistants_assistant_operation", args=[mine.pk, "delete"])
    admin_client.post(path, {"reason": "unused"})

    assert not Assistant.objects.filter(pk=mine.pk).exists()


def test_an_assistant_is_paused_and_resumed(admin_client: Client) -> None:
    mine = make("Mine", {})
    buttons = "admin:assistants_assistant_operation"
    pause = reverse(buttons, args=[mine.pk, "pause"])
    assert (
        "new runs wait until it is resumed" in admin_client.get(pause).content.decode()
    )

    admin_client.post(pause, {"reason": "it loops"})
    with CaptureQueriesContext(connection) as queries:
        shown = admin_client.get(page(mine)).content.decode()
    assert '<span class="badge warn">paused</span>' in shown
    assert pause not in shown
    assert len(queries) <= 20
    assert Pause.objects.filter(kind="assistant", name=str(mine.pk)).exists()

    admin_client.post(reverse(buttons, args=[mine.pk, "resume"]))

    assert not Pause.objects.exists()
    entries = LogEntry.objects.filter(object_id=str(mine.pk)).order_by("pk")
    said = [entry.change_message for entry in entries]
    assert said == ["paused: its new runs wait: it loops", "resumed"]


def test_only_staff_comes_in(client: Client) -> None:
    assert client.get(LIST).status_code == 302
