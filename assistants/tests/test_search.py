from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.people import Client
from spool.assistants.tests.making import make

pytestmark = pytest.mark.django_db


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [assistant["name"] for assistant in response.json()]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"metadata": {"mark": True}}, ["100%", "Beta", "alpha_1"]),
        ({"metadata": {"mark": True, "deep": {"a": [1]}}}, ["Beta"]),
        ({"metadata": {"mark": True}, "graph_id": "human"}, ["alpha_1"]),
        ({"metadata": {"mark": True}, "graph_id": ""}, ["100%", "Beta", "alpha_1"]),
        ({"name": "ALPHA", "metadata": {"mark": True}}, ["alpha_1"]),
        ({"name": "_", "metadata": {"mark": True}}, ["alpha_1"]),
        ({"name": "%", "metadata": {"mark": True}}, ["100%"]),
        ({"name": "", "metadata": {"mark": True}}, ["100%", "Beta", "alpha_1"]),
        ({"metadata": {"mark": "true"}}, []),
        ({"metadata": {"mark": "%"}}, []),
    ],
)
def test_search_and_count_filter(
    alice_client: Client, asked: dict[str, Any], expected: list[str]
) -> None:
    make(alice_client, name="alpha_1", graph_id="human", metadata={"mark": True})
    make(
        alice_client,
        name="Beta",
        metadata={"mark": True, "deep": {"a": [1, 2], "b": 0}},
    )
    make(alice_client, name="100%", metadata={"mark": True})

    assert names(alice_client.call("post", "/assistants/search", asked)) == expected
    count = alice_client.call("post", "/assistants/count", asked)
    assert count.content == str(len(expected)).encode()


def test_search_defaults_to_the_newest_ten(alice_client: Client) -> None:
    for number in range(12):
        make(alice_client, name=str(number), metadata={"mark": 1})
    nulls = dict.fromkeys(
        ["graph_id", "name", "limit", "offset", "sort_by", "sort_order", "select"]
    )

    response = alice_client.call(
        "post", "/assistants/search", {"metadata": {"mark": 1}, **nulls}
    )
    rest = alice_client.call(
        "post", "/assistants/search", {"metadata": {"mark": 1}, "offset": 10}
    )
    beyond = alice_client.call(
        "post", "/assistants/search", {"metadata": {"mark": 1}, "offset": 50}
    )

    assert names(response) == [str(number) for number in range(11, 1, -1)]
    assert response.headers["X-Pagination-Total"] == "11"
    assert response.headers["X-Pagination-Next"] == "10"
    assert names(rest) == ["1", "0"]
    assert rest.headers["X-Pagination-Total"] == "12"
    assert "X-Pagination-Next" not in rest.headers
    assert beyond.headers["X-Pagination-Total"] == "50"


@pytest.mark.parametrize(
    "sort_by", ["assistant_id", "created_at", "updated_at", "name", "graph_id"]
)
def test_search_sorts_both_ways(alice_client: Client, sort_by: str) -> None:
    for name, graph_id in (("b", "human"), ("a", "echo"), ("c", "chat")):
        make(alice_client, name=name, graph_id=graph_id, metadata={"mark": 1})
    asked = {"metadata": {"mark": 1}, "sort_by": sort_by}

    up = alice_client.call(
        "post", "/assistants/search", {**asked, "sort_order": "asc"}
    ).json()
    down = alice_client.call(
        "post", "/assistants/search", {**asked, "sort_order": "desc"}
    ).json()

    values = [assistant[sort_by] for assistant in up]
    assert values == sorted(values)
    assert down == up[::-1]


def test_search_selects(alice_client: Client) -> None:
    make(alice_client, name="One", metadata={"mark": 1})
    asked = {"metadata": {"mark": 1}, "select": ["name", "version"]}

    response = alice_client.call("post", "/assistants/search", asked)

    assert response.json() == [{"name": "One", "version": 1}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "ten"},
        {"offset": -1},
        {"sort_by": "version"},
        {"sort_order": "up"},
        {"select": ["nonsense"]},
        {"select": 5},
        {"metadata": ["a"]},
        {"name": ["a"]},
    ],
)
def test_search_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    response = alice_client.call("post", "/assistants/search", wrong)

    assert response.status_code == 422
    assert next(iter(wrong)) in response.json()["detail"]


def test_search_and_count_hide_other_owners_assistants(
    alice_client: Client, bob_client: Client
) -> None:
    make(alice_client, name="hers")

    found = names(bob_client.call("post", "/assistants/search", {"limit": 100}))
    count = bob_client.call("post", "/assistants/count", {"name": "hers"}).json()

    assert "hers" not in found
    assert "echo" in found
    assert count == 0


def test_search_takes_two_queries_at_most(
    alice_client: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        make(alice_client)

    with django_assert_max_num_queries(2):
        alice_client.call("post", "/assistants/search", {})


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_names_are_sorted_whatever_their_case(alice_client: Client, order: str) -> None:
    for name in ("Zed", "alice", "Bob"):
        make(alice_client, name=name)
    asked = {"sort_by": "name", "sort_order": order, "graph_id": "echo"}

    found = alice_client.call("post", "/assistants/search", asked).json()

    names = [one["name"] for one in found if one["name"] in ("Zed", "alice", "Bob")]
    ordered = ["alice", "Bob", "Zed"]
    assert names == (ordered if order == "asc" else ordered[::-1])
