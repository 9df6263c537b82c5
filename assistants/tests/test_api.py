from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from access.tests.people import Client
from assistants.models import Assistant, AssistantVersion
from assistants.services import register_system_assistants, system_assistant_id

pytestmark = pytest.mark.django_db

ECHO = UUID("046b5dc7-2108-582c-9c6c-31d556d138f0")


def make(client: Client, **body: Any) -> dict[str, Any]:
    response = client.call("post", "/assistants", {"graph_id": "echo", **body})
    assert response.status_code == 200, response.content
    made: dict[str, Any] = response.json()
    return made


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


def test_nobody_writes_the_owner(alice_client: Client, bob_client: Client) -> None:
    made = make(bob_client, metadata={"owner": "alice"})

    changed = bob_client.call(
        "patch",
        f"/assistants/{made['assistant_id']}",
        {"metadata": {"owner": "alice", "a": 1}},
    )

    assert made["metadata"] == {"owner": "bob"}
    assert changed.json()["metadata"] == {"owner": "bob", "a": 1}


def test_text_that_postgres_refuses_is_cleaned(alice_client: Client) -> None:
    body = (
        b'{"graph_id": "echo", "name": "a\\u0000b", "metadata": {"\\ud800": "\\u0000"}}'
    )

    response = alice_client.post("/assistants", body, content_type="application/json")

    assert response.status_code == 200
    assert response.json()["name"] == "a\ufffdb"
    assert response.json()["metadata"]["\ufffd"] == "\ufffd"


# --- Get ----------------------------------------------------------------------------
def test_get(alice_client: Client) -> None:
    made = make(alice_client)

    response = alice_client.call("get", f"/assistants/{made['assistant_id']}")

    assert response.status_code == 200
    assert response.json() == made


def test_system_assistants_are_everybodys(
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
    # As an earlier langgraph.json had it.
    for rows in (Assistant.objects.filter(pk=ECHO), AssistantVersion.objects):
        rows.update(description="In other words.")
    register_system_assistants()
    followed = described()
    # As an operator would have it.
    Assistant.objects.filter(pk=ECHO).update(version=2, description="Ours.")
    register_system_assistants()

    assert followed == found
    assert described()[0] == "Ours."


def test_the_start_names_who_took_a_graphs_id(
    alice_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    Assistant.objects.filter(pk=ECHO).delete()
    # Before `echo` was served.
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


# --- Search and count ---------------------------------------------------------------
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


# --- Graph, schemas, subgraphs ------------------------------------------------------
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
    assert schemas["config_schema"]["title"] == "config"


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
        "detail": "graph 'unmakeable' can't be made: RuntimeError: no model today"
    }


def test_nobody_waits_for_ever_for_a_graph(
    alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistants.graphs.PATIENCE_SECS", 0.01)

    response = alice_client.call("get", "/assistants/waiting/graph")

    assert response.status_code == 422
    assert "graph 'waiting' can't be made: TimeoutError" in response.json()["detail"]


# --- A graph that is not served any more ---------------------------------------------
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
        assert "graph 'gone' is not in langgraph.json" in refused.json()["detail"]
