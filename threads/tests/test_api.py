from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from spool.access.tests.people import Client
from spool.threads.models import Thread
from spool.threads.tests.making import make

pytestmark = pytest.mark.django_db


# --- Create -------------------------------------------------------------------------
def test_create_answers_with_the_thread(alice_client: Client) -> None:
    thread_id = str(uuid4())

    thread = make(alice_client, thread_id=thread_id, metadata={"kind": "test"})

    assert thread == {
        "thread_id": thread_id,
        "created_at": thread["created_at"],
        "updated_at": thread["created_at"],
        "state_updated_at": thread["created_at"],
        "metadata": {"kind": "test", "owner": "alice"},
        "status": "idle",
        "config": {},
        "values": None,
    }
    assert thread["created_at"].endswith("+00:00")


@pytest.mark.parametrize(
    "body",
    [
        {},
        dict.fromkeys(["thread_id", "metadata", "if_exists", "ttl", "supersteps"]),
        {"nonsense": 1},
    ],
)
def test_create_has_defaults(alice_client: Client, body: dict[str, Any]) -> None:
    thread = make(alice_client, **body)

    assert UUID(thread["thread_id"]).version == 7
    assert thread["metadata"] == {"owner": "alice"}


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"thread_id": "nonsense"}, "thread_id: "),
        ({"metadata": "text"}, "metadata: must be an object"),
        ({"metadata": []}, "metadata: must be an object"),
        ({"thread_id": 5}, "thread_id: "),
        ({"thread_id": True}, "thread_id: "),
        ({"if_exists": "replace"}, "if_exists: "),
        ({"ttl": 5}, "ttl: must be an object"),
        ({"ttl": {}}, "ttl: ttl must be a number"),
        ({"ttl": {"ttl": True}}, "ttl: ttl must be a number"),
        ({"ttl": {"ttl": 0}}, "ttl: ttl must be positive"),
        ({"ttl": {"ttl": 1e300}}, "ttl: ttl must be positive"),
        ({"ttl": {"ttl": 1, "strategy": "archive"}}, "ttl: strategy must be"),
        ({"supersteps": {}}, "supersteps: "),
        ({"supersteps": [{}]}, "supersteps: "),
        ({"supersteps": [{"updates": ["a"]}]}, "supersteps: "),
        ({"supersteps": [{"updates": [{"values": 1}]}]}, "supersteps: "),
        ({"supersteps": [{"updates": [{"command": "go"}]}]}, "supersteps: "),
        ({"supersteps": [{"updates": [{"as_node": 1}]}]}, "supersteps: "),
    ],
)
def test_create_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any], detail: str
) -> None:
    response = alice_client.call("post", "/threads", wrong)

    assert response.status_code == 422
    assert response.json()["detail"].startswith(detail)
    assert not Thread.objects.exists()


@pytest.mark.parametrize("path", ["", "/search", "/count", "/prune"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"1"])
def test_a_body_must_be_a_json_object(
    alice_client: Client, path: str, body: bytes
) -> None:
    response = alice_client.post(
        f"/threads{path}", body, content_type="application/json"
    )

    assert response.status_code == 422
    assert "JSON" in response.json()["detail"]


def test_create_refuses_an_id_that_exists(alice_client: Client) -> None:
    first = make(alice_client, metadata={"n": 1})
    again = {"thread_id": first["thread_id"], "metadata": {"n": 2}}

    refused = alice_client.call("post", "/threads", again)
    kept = alice_client.call("post", "/threads", {**again, "if_exists": "do_nothing"})

    assert refused.status_code == 409
    assert refused.json() == {
        "detail": f"Thread with ID {first['thread_id']} already exists"
    }
    assert kept.status_code == 200
    assert kept.json() == first


def test_create_hides_other_owners_threads(
    alice_client: Client, bob_client: Client
) -> None:
    first = make(alice_client)
    again = {"thread_id": first["thread_id"], "if_exists": "do_nothing"}

    assert bob_client.call("post", "/threads", again).status_code == 409


def test_clients_can_not_write_the_owner(bob_client: Client) -> None:
    made = make(bob_client, metadata={"owner": "alice"})

    changed = bob_client.call(
        "patch", f"/threads/{made['thread_id']}", {"metadata": {"owner": "alice"}}
    )

    assert made["metadata"] == {"owner": "bob"}
    assert changed.json()["metadata"] == {"owner": "bob"}


def test_metadata_nested_too_deep_is_refused(alice_client: Client) -> None:
    body = b'{"metadata": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}"

    response = alice_client.post("/threads", body, content_type="application/json")

    assert response.status_code == 422


# --- Get, update, delete --------------------------------------------------------------
def test_get(alice_client: Client) -> None:
    made = make(alice_client)

    response = alice_client.call("get", f"/threads/{made['thread_id']}")

    assert response.status_code == 200
    assert response.json() == made


@pytest.mark.parametrize("interrupts", [{}, None])
def test_a_thread_that_ran_shows_error_and_interrupts(
    alice_client: Client, interrupts: dict[str, Any] | None
) -> None:
    """Even if its first run failed before it had a state."""
    made = make(alice_client)
    Thread.objects.update(interrupts=interrupts, error={"error": "E", "message": "m"})

    thread = alice_client.call("get", f"/threads/{made['thread_id']}").json()

    assert thread["interrupts"] == {}
    assert thread["error"] == {"error": "E", "message": "m"}


# Fixed, since the ids of tests have to be the same in each run.
NO_CHECKPOINT = UUID(int=7)
NO_THREAD: list[tuple[str, str, Any, str]] = [
    ("get", "", None, "Thread with ID {id} not found"),
    ("patch", "", {}, "Not Found"),
    ("delete", "", None, "Thread with ID {id} not found"),
    ("get", "/storage", None, "Thread with ID {id} not found"),
    ("get", "/state", None, "Thread with ID {id} not found"),
    ("post", "/state", {"values": {}}, "Thread with ID {id} not found"),
    ("get", f"/state/{NO_CHECKPOINT}", None, "Thread with ID {id} not found"),
    (
        "post",
        "/state/checkpoint",
        {"checkpoint": {}},
        "Thread with ID {id} not found",
    ),
    ("get", "/history", None, "Thread with ID {id} not found"),
    ("post", "/history", {}, "Thread with ID {id} not found"),
]


@pytest.mark.parametrize(("method", "path", "body", "detail"), NO_THREAD)
def test_a_missing_thread(
    alice_client: Client, method: str, path: str, body: Any, detail: str
) -> None:
    missing = uuid4()

    response = alice_client.call(method, f"/threads/{missing}{path}", body)

    assert response.status_code == 404
    assert response.json() == {"detail": detail.format(id=missing)}


@pytest.mark.parametrize(("method", "path", "body", "detail"), NO_THREAD)
def test_another_owners_thread_looks_missing(
    alice_client: Client,
    bob_client: Client,
    method: str,
    path: str,
    body: Any,
    detail: str,
) -> None:
    theirs = make(alice_client, metadata={"graph_id": "echo"})
    path = f"/threads/{theirs['thread_id']}{path}"

    response = bob_client.call(method, path, body)

    assert response.status_code == 404
    assert response.json() == {"detail": detail.format(id=theirs["thread_id"])}
    assert alice_client.call("get", f"/threads/{theirs['thread_id']}").json() == theirs


@pytest.mark.parametrize(
    ("method", "path", "body"), [(m, path, body) for m, path, body, _ in NO_THREAD]
)
def test_a_path_takes_ids_only(
    alice_client: Client, method: str, path: str, body: Any
) -> None:
    response = alice_client.call(method, f"/threads/nonsense{path}", body)

    assert response.status_code == 422
    assert response.json() == {"detail": "Invalid thread ID: must be a UUID"}


def test_update_merges_metadata_at_its_top_level(alice_client: Client) -> None:
    made = make(alice_client, metadata={"a": 1, "b": {"c": 2}, "d": 3})
    changes = {"metadata": {"b": {"e": 4}, "d": None}}

    response = alice_client.call("patch", f"/threads/{made['thread_id']}", changes)

    assert response.status_code == 200
    thread = response.json()
    assert thread["metadata"] == {"a": 1, "b": {"e": 4}, "d": None, "owner": "alice"}
    assert thread["updated_at"] > made["updated_at"]
    assert thread["state_updated_at"] == made["state_updated_at"]


@pytest.mark.parametrize("body", [{}, {"metadata": None, "ttl": None}])
def test_update_with_nothing(alice_client: Client, body: dict[str, Any]) -> None:
    made = make(alice_client, metadata={"a": 1})

    response = alice_client.call("patch", f"/threads/{made['thread_id']}", body)

    assert response.status_code == 200
    assert response.json()["metadata"] == made["metadata"]


def test_update_answers_with_nothing_when_asked_to(alice_client: Client) -> None:
    made = make(alice_client)

    response = alice_client.patch(
        f"/threads/{made['thread_id']}",
        '{"metadata": {"a": 1}}',
        content_type="application/json",
        headers={"Prefer": "return=minimal"},
    )

    assert response.status_code == 204
    assert response.content == b""
    assert Thread.objects.get().metadata["a"] == 1


@pytest.mark.parametrize("wrong", [{"metadata": 1}, {"metadata": []}, {"ttl": "1"}])
def test_update_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    made = make(alice_client)

    response = alice_client.call("patch", f"/threads/{made['thread_id']}", wrong)

    assert response.status_code == 422
    assert next(iter(wrong)) in response.json()["detail"]


def test_delete(alice_client: Client) -> None:
    path = f"/threads/{make(alice_client)['thread_id']}"

    first = alice_client.call("delete", path)
    second = alice_client.call("delete", path)

    assert first.status_code == 204
    assert first.content == b""
    assert second.status_code == 404
    assert not Thread.objects.exists()


def test_a_discarded_thread_is_gone_for_all(alice_client: Client) -> None:
    made = make(alice_client)
    Thread.objects.update(discarded_at=made["created_at"])

    assert alice_client.call("get", f"/threads/{made['thread_id']}").status_code == 404
    assert alice_client.call("post", "/threads/count", {}).json() == 0


# --- Prune ----------------------------------------------------------------------------
def test_prune_deletes_the_callers_own(
    alice_client: Client, bob_client: Client
) -> None:
    mine = [make(alice_client)["thread_id"] for _ in range(2)]
    theirs = make(bob_client)["thread_id"]
    asked = {"thread_ids": [*mine, mine[0], theirs, str(uuid4())], "strategy": None}

    response = alice_client.call("post", "/threads/prune", asked)

    assert response.status_code == 200
    assert response.json() == {"pruned_count": 2}
    assert [str(pk) for pk in Thread.objects.values_list("pk", flat=True)] == [theirs]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"thread_ids": None},
        {"thread_ids": "all"},
        {"thread_ids": ["nonsense"]},
        {"thread_ids": [5]},
        {"thread_ids": [], "strategy": "archive"},
    ],
)
def test_prune_names_what_is_wrong(alice_client: Client, wrong: dict[str, Any]) -> None:
    assert alice_client.call("post", "/threads/prune", wrong).status_code == 422


# --- With an assistant ------------------------------------------------------------------
def test_an_assistant_takes_its_threads_along_when_told(
    alice_client: Client, bob_client: Client
) -> None:
    assistant = alice_client.call("post", "/assistants", {"graph_id": "echo"}).json()
    assistant_id = assistant["assistant_id"]
    by_it = {"metadata": {"assistant_id": assistant_id}}
    make(alice_client, **by_it)
    kept = make(alice_client, metadata={"assistant_id": str(uuid4())})
    theirs = make(bob_client, **by_it)

    response = alice_client.call(
        "delete", f"/assistants/{assistant_id}?delete_threads=true"
    )

    assert response.status_code == 204
    left = {str(pk) for pk in Thread.objects.values_list("pk", flat=True)}
    assert left == {kept["thread_id"], theirs["thread_id"]}


@pytest.mark.parametrize("query", ["", "?delete_threads=false", "?delete_threads=0"])
def test_an_assistant_leaves_its_threads_otherwise(
    alice_client: Client, query: str
) -> None:
    assistant = alice_client.call("post", "/assistants", {"graph_id": "echo"}).json()
    make(alice_client, metadata={"assistant_id": assistant["assistant_id"]})

    alice_client.call("delete", f"/assistants/{assistant['assistant_id']}{query}")

    assert Thread.objects.count() == 1
