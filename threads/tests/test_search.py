from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from spool.access.tests.people import Client
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


def make(name: str = "", owner: str = "alice", **columns: Any) -> Thread:
    metadata = {"name": name, **columns.pop("metadata", {}), "owner": owner}
    return Thread.objects.create(metadata=metadata, **columns)


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [thread["metadata"]["name"] for thread in response.json()]


def some_threads() -> None:
    make("plain", metadata={"n": 1, "deep": {"a": {"b": [1, 2]}, "c": 3}})
    make("text", metadata={"n": "1", "pattern": "100%_"}, values={"x": 1})
    make("busy", status="busy", values={"x": "1", "log": ["a", "b"]})
    make("failed", status="error", metadata={"n": None})
    make("theirs", owner="bob", metadata={"n": 1}, values={"x": 1})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["failed", "busy", "text", "plain"]),
        ({"metadata": None, "values": None, "status": None, "ids": None}, 4),
        ({"metadata": {}, "values": {}}, 4),
        ({"metadata": {"n": 1}}, ["plain"]),
        ({"metadata": {"n": "1"}}, ["text"]),
        ({"metadata": {"n": None}}, ["failed"]),
        ({"metadata": {"n": True}}, []),
        ({"metadata": {"deep": {"a": {"b": [2]}}}}, ["plain"]),
        ({"metadata": {"deep": {"c": 3}}}, ["plain"]),
        ({"metadata": {"pattern": "100%_"}}, ["text"]),
        ({"metadata": {"pattern": "%"}}, []),
        ({"metadata": {"pattern": "____"}}, []),
        ({"metadata": {"owner": "bob"}}, []),
        ({"values": {"x": 1}}, ["text"]),
        ({"values": {"x": "1"}}, ["busy"]),
        ({"values": {"log": ["b"]}}, ["busy"]),
        ({"status": "busy"}, ["busy"]),
        ({"status": "error", "metadata": {"n": None}}, ["failed"]),
        ({"status": "interrupted"}, []),
    ],
)
def test_search_and_count_filter(
    alice_client: Client, asked: dict[str, Any], expected: Any
) -> None:
    some_threads()
    if expected == 4:
        expected = ["failed", "busy", "text", "plain"]

    assert names(alice_client.call("post", "/threads/search", asked)) == expected
    count = alice_client.call("post", "/threads/count", asked)
    assert count.content == str(len(expected)).encode()


def test_search_by_ids(alice_client: Client) -> None:
    first, second = make("first"), make("second")
    theirs = make("theirs", owner="bob")
    ids = [str(first.id), str(theirs.id), str(uuid4())]

    found = alice_client.call("post", "/threads/search", {"ids": ids})
    no_filter = alice_client.call("post", "/threads/search", {"ids": []})
    bad = alice_client.call("post", "/threads/search", {"ids": [str(second.id), "x"]})

    assert names(found) == ["first"]
    assert names(no_filter) == ["second", "first"]
    assert bad.status_code == 400
    assert bad.json() == {"detail": "Invalid thread ID x"}


@pytest.mark.parametrize("owner", ["alice", "bob"])
def test_search_and_count_hide_other_owners_threads(
    alice_client: Client, bob_client: Client, owner: str
) -> None:
    make("alice"), make("bob", owner="bob")
    client = {"alice": alice_client, "bob": bob_client}[owner]

    assert names(client.call("post", "/threads/search", {})) == [owner]
    assert client.call("post", "/threads/count", {}).json() == 1


def test_search_pages(alice_client: Client) -> None:
    for number in range(12):
        make(str(number))

    first = alice_client.call("post", "/threads/search", {"limit": None})
    last = alice_client.call("post", "/threads/search", {"limit": 5, "offset": 10})
    beyond = alice_client.call("post", "/threads/search", {"offset": 20})

    assert names(first) == [str(number) for number in range(11, 1, -1)]
    assert first.headers["X-Pagination-Total"] == "11"
    assert first.headers["X-Pagination-Next"] == "10"
    assert names(last) == ["1", "0"]
    assert last.headers["X-Pagination-Total"] == "12"
    assert "X-Pagination-Next" not in last.headers
    assert names(beyond) == []
    assert beyond.headers["X-Pagination-Total"] == "20"


@pytest.mark.parametrize(
    "sort_by", ["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
)
def test_search_sorts_both_ways(alice_client: Client, sort_by: str) -> None:
    for status in ("idle", "busy", "error", "idle"):
        make(status, status=status)
    up = {"sort_by": sort_by, "sort_order": "asc"}

    rising = alice_client.call("post", "/threads/search", up).json()
    falling = alice_client.call(
        "post", "/threads/search", {**up, "sort_order": None}
    ).json()

    assert [row[sort_by] for row in rising] == sorted(row[sort_by] for row in rising)
    assert falling == rising[::-1]


def test_search_selects(alice_client: Client) -> None:
    thread = make("one", values={"x": 1})

    response = alice_client.call(
        "post",
        "/threads/search",
        {"select": ["thread_id", "values", "status", "interrupts"]},
    )

    assert response.json() == [
        {
            "thread_id": str(thread.id),
            "values": {"x": 1},
            "status": "idle",
            "interrupts": None,
        }
    ]


def test_search_extracts(alice_client: Client) -> None:
    make(
        "one",
        values={"messages": [{"content": "a"}, {"content": "b"}], "text": "abc"},
        interrupts={"task": [{"value": "q"}]},
        config={"tags": ["t"]},
    )
    paths = {
        "last": "values.messages[-1].content",
        "first": "values.messages[0]",
        "whole": "values",
        "name": "metadata.name",
        "tag": "config.tags[0]",
        "question": "interrupts.task[0].value",
        "beyond": "values.messages[7].content",
        "missing": "values.a.b[0]",
        "letter": "values.text[0]",
        "not_a_list": "values[0]",
    }

    response = alice_client.call(
        "post", "/threads/search", {"extract": paths, "select": ["status"]}
    )

    assert response.json() == [
        {
            "status": "idle",
            "extracted": {
                "last": "b",
                "first": {"content": "a"},
                "whole": {
                    "messages": [{"content": "a"}, {"content": "b"}],
                    "text": "abc",
                },
                "name": "one",
                "tag": "t",
                "question": "q",
                "beyond": None,
                "missing": None,
                "letter": None,
                "not_a_list": None,
            },
        }
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "ten"},
        {"offset": -1},
        {"offset": 10**30},
        {"sort_by": "metadata"},
        {"sort_order": "up"},
        {"status": "done"},
        {"select": ["nonsense"]},
        {"select": {"a": 1}},
        {"metadata": "a"},
        {"values": ["a"]},
        {"ids": "all"},
        {"extract": ["values"]},
        {"extract": {"a": "owner"}},
        {"extract": {"a": 5}},
        {"extract": {"a": "values..b"}},
        {"extract": {"a": "values[x]"}},
        {"extract": {"a": "values[99999999999]"}},
    ],
)
def test_search_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    response = alice_client.call("post", "/threads/search", wrong)

    assert response.status_code == 422
    assert next(iter(wrong)) in response.json()["detail"]


def test_search_costs_the_same_for_any_number_of_rows(
    alice_client: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        make(str(number))
    alice_client.call("post", "/threads/search", {})

    with django_assert_max_num_queries(2):
        alice_client.call("post", "/threads/search", {"limit": 100})
