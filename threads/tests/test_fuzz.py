"""Metadata and filters of any shape: stored unchanged, found again, never a 5xx."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spool.access.tests.people import Client
from spool.database.json import clean
from spool.threads.models import Thread
from spool.threads.tests.running import make_thread

pytestmark = pytest.mark.django_db

# NUL and lone surrogates are refused in a body, which other tests prove.
storable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
text = st.text(storable, max_size=20) | st.sampled_from(
    [
        "%",
        "_",
        "\\",
        "'",
        '"',
        "a.b",
        "$eq",
        "",
        "\u202e",
        "😀",
    ]
)
numbers = (
    st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 2**63, 2**64, 1e308, 5e-324])
)
leaves = st.none() | st.booleans() | numbers | text
documents = st.recursive(
    leaves,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(text, below, max_size=4)
    ),
    max_leaves=20,
)
objects = st.dictionaries(text, documents, max_size=5)
nodes = st.none() | text
nodes |= st.sampled_from(
    ["ask", "fin", "__start__", "__end__", "__copy__", "__input__"]
)
some = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def nested(depth: int) -> Any:
    document: Any = 1
    for _ in range(depth):
        document = {"a": [document]}
    return document


@given(metadata=objects)
@some
def test_any_metadata_is_found_by_itself(
    alice_client: Client, metadata: dict[str, Any]
) -> None:
    made = alice_client.call("post", "/threads", {"metadata": metadata})
    assert made.status_code == 200
    stored = {**made.json()["metadata"]}
    expected = {**clean(metadata), "owner": "alice"}
    assert set(stored) == set(expected)

    found = alice_client.call(
        "post", "/threads/search", {"metadata": metadata, "limit": 1000}
    )

    assert found.status_code == 200
    ids = {row["thread_id"] for row in found.json()}
    assert (made.json()["thread_id"] in ids) is ("owner" not in metadata)


@given(metadata=objects, values=objects)
@some
def test_any_filter_finds_only_what_contains_it(
    alice_client: Client, metadata: dict[str, Any], values: dict[str, Any]
) -> None:
    Thread.objects.get_or_create(metadata={"owner": "alice", "%": "_"}, values={"_": 1})
    asked = {"metadata": metadata, "values": values}

    for path in ("/threads/search", "/threads/count", "/assistants/search"):
        response = alice_client.call("post", path, asked)

        assert response.status_code == 200, response.content
        shown = len(response.json()) if "search" in path else response.json()
        wants_nothing = not metadata and (not values or "assistants" in path)
        assert shown == 0 or wants_nothing or metadata == {"%": "_"}


@given(name=text)
@some
def test_any_name_is_found_as_it_is(alice_client: Client, name: str) -> None:
    made = alice_client.call(
        "post", "/assistants", {"graph_id": "echo", "name": f"a{name}z"}
    ).json()
    wanted = made["name"][1:-1]

    rows = alice_client.call(
        "post", "/assistants/search", {"name": wanted, "limit": 1000}
    ).json()

    assert made["assistant_id"] in {row["assistant_id"] for row in rows}
    assert all(wanted.casefold() in row["name"].casefold() for row in rows)


@pytest.mark.parametrize("depth", [1, 90, 150, 3000])
def test_depth_is_refused_or_kept(alice_client: Client, depth: int) -> None:
    body = '{"metadata": {"deep": ' + '{"a": [' * depth + "1" + "]}" * depth + "}}"

    made = alice_client.post("/threads", body, content_type="application/json")
    found = alice_client.post("/threads/search", body, content_type="application/json")

    fits = depth <= 90
    assert made.status_code == found.status_code == (200 if fits else 422)
    assert Thread.objects.exists() is fits


@given(changes=st.lists(objects, min_size=1, max_size=4))
@some
def test_any_changes_merge_as_dictionaries_do(
    alice_client: Client, changes: list[dict[str, Any]]
) -> None:
    path = f"/threads/{alice_client.call('post', '/threads', {}).json()['thread_id']}"
    merged: dict[str, Any] = {}

    for change in changes:
        response = alice_client.call("patch", path, {"metadata": change})
        assert response.status_code == 200
        merged |= clean(change)

    keys = {*merged, "owner"}
    assert set(alice_client.call("get", path).json()["metadata"]) == keys


@given(values=documents, as_node=nodes)
@some
def test_any_state_update_is_taken_or_refused(
    alice_client: Client, values: Any, as_node: str | None
) -> None:
    path = f"/threads/{make_thread('human', {'topic': 't'}).id}"
    asked = {"values": values, "as_node": as_node}

    response = alice_client.call("post", f"{path}/state", asked)

    assert response.status_code in (200, 400)
    thread = alice_client.call("get", path).json()
    state = alice_client.call("get", f"{path}/state").json()
    assert thread["values"] == state["values"]
    assert thread["status"] == ("interrupted" if state["next"] else "idle")
