"""All routes treat slightly malformed requests in the same way."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from spool.assistants.services import register_system_assistants
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _assistants(db: None) -> None:
    register_system_assistants()


def post(path: str, body: bytes) -> Any:
    return Client().post(path, body, content_type="application/json")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/threads/", "/threads"),
        ("/threads/search/?a=1", "/threads/search?a=1"),
        ("/assistants/x/", "/assistants/x"),
    ],
)
def test_a_trailing_slash_is_redirected(path: str, place: str) -> None:
    response = post(path, b"{}")

    assert (response.status_code, response["Location"]) == (307, place)


@pytest.mark.parametrize("path", ["/nothing/", "//example.com/", "//threads/"])
def test_what_has_no_route_is_not_redirected(path: str) -> None:
    response = post(path, b"{}")

    assert response.status_code in (404, 405)
    assert "Location" not in response


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/ok", "/threads", "/info"])
def test_options_are_no_fault_of_the_servers(path: str) -> None:
    response = Client(raise_request_exception=False).options(path)

    assert response.status_code < 500


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"n": 1e400}',
        b'{"n": [-1E+999]}',
        b'{"half": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"nul": "\\u0000"}',
    ],
)
def test_what_cannot_be_stored_is_refused(metadata: bytes) -> None:
    response = post("/threads", b'{"metadata": %s}' % metadata)

    assert response.status_code == 422
    assert "stored" in response.json()["detail"]
    assert not Thread.objects.exists()


def test_what_only_looks_like_it_is_kept() -> None:
    metadata = b'{"a": "\\\\u0000 \\\\ud800 1e400", "b": "\\ud83d\\ude00", "c": 1e300}'

    response = post("/threads", b'{"metadata": %s}' % metadata)

    assert response.status_code == 200
    kept = Thread.objects.get().metadata
    assert kept == {"a": "\\u0000 \\ud800 1e400", "b": "\U0001f600", "c": 1e300}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/assistants", b'{"graph_id": 5}', "graph_id"),
        ("/assistants", b'{"graph_id": "echo", "name": 5}', "name"),
        ("/runs", b'{"assistant_id": 5}', "assistant_id"),
        ("/runs", b'{"assistant_id": "echo", "webhook": 5}', "webhook"),
        ("/runs", b'{"assistant_id": "echo", "feedback_keys": [5]}', "feedback_keys"),
        ("/runs/crons", b'{"assistant_id": "echo", "schedule": 5}', "schedule"),
        ("/threads/search", b'{"ids": [5]}', "ids"),
    ],
)
def test_a_number_is_no_text(path: str, body: bytes, field: str) -> None:
    response = post(path, body)

    assert response.status_code == 422
    assert response.json()["detail"].startswith(field)
