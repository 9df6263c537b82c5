from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from access.tests.people import Client
from threads.models import Thread
from threads.services import delete_threads
from threads.state import update_state
from threads.tests.running import make_thread, run_graph

pytestmark = pytest.mark.django_db

EMPTY: dict[str, Any] = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": None,
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "interrupts": [],
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
}


def state_of(client: Client, thread: Thread, query: str = "") -> dict[str, Any]:
    response = client.call("get", f"/threads/{thread.id}/state{query}")
    assert response.status_code == 200, response.content
    state: dict[str, Any] = response.json()
    return state


def history_of(client: Client, thread: Thread, **body: Any) -> list[dict[str, Any]]:
    response = client.call("post", f"/threads/{thread.id}/history", body)
    assert response.status_code == 200, response.content
    states: list[dict[str, Any]] = response.json()
    return states


def update(client: Client, thread: Thread, **body: Any) -> Any:
    return client.call("post", f"/threads/{thread.id}/state", body)


# --- Reading --------------------------------------------------------------------------
@pytest.mark.parametrize("metadata", [{}, {"graph_id": "echo"}, {"graph_id": "gone"}])
def test_a_thread_without_state_is_empty(
    alice_client: Client, metadata: dict[str, Any]
) -> None:
    thread = Thread.objects.create(metadata={**metadata, "owner": "alice"})

    assert state_of(alice_client, thread) == EMPTY
    assert history_of(alice_client, thread) == []


@pytest.mark.parametrize("graph_id", [["echo"], {"a": 1}, 5, True])
def test_a_graph_id_that_is_none(alice_client: Client, graph_id: Any) -> None:
    thread = Thread.objects.create(metadata={"graph_id": graph_id, "owner": "alice"})

    assert state_of(alice_client, thread) == EMPTY
    assert update(alice_client, thread, values={"a": 1}).status_code in (400, 404)


def test_state_tells_of_an_interrupt(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    state = state_of(alice_client, thread)

    assert state["values"] == {"topic": "t", "log": []}
    assert state["next"] == ["ask"]
    [task] = state["tasks"]
    assert task["name"] == "ask"
    assert task["error"] is None
    assert task["interrupts"] == state["interrupts"]
    assert state["interrupts"][0]["value"] == {"question": "approve?", "topic": "t"}
    assert state["checkpoint"] == {
        "thread_id": str(thread.id),
        "checkpoint_ns": "",
        "checkpoint_id": state["checkpoint_id"],
    }
    assert state["metadata"]["source"] == "loop"


def test_state_of_parallel_branches(alice_client: Client) -> None:
    state = state_of(alice_client, make_thread("par", {"log": []}))

    assert sorted(state["next"]) == ["pa", "pb"]
    questions = [interrupt["value"] for interrupt in state["interrupts"]]
    assert sorted(questions) == ["qa", "qb"]


def test_state_tells_of_a_tasks_error(alice_client: Client) -> None:
    thread = make_thread("raises")
    with pytest.raises(ValueError, match="boom happened"):
        run_graph(thread, {})

    [task] = state_of(alice_client, thread)["tasks"]

    assert (task["name"], task["error"]) == ("boom", "ValueError('boom happened')")


def test_state_with_subgraphs(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})

    flat = state_of(alice_client, thread, "?subgraphs=false")["tasks"][0]
    deep = state_of(alice_client, thread, "?subgraphs=true")["tasks"][0]

    namespace = flat["checkpoint"]["checkpoint_ns"]
    assert flat["state"] is None
    assert namespace == f"child:{flat['id']}"
    assert deep["checkpoint"] is None
    assert deep["state"]["next"] == ["sub_b"]
    assert deep["state"]["checkpoint"]["checkpoint_ns"] == namespace


def test_state_and_history_of_a_subgraph(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})
    checkpoint = state_of(alice_client, thread)["tasks"][0]["checkpoint"]

    state = alice_client.call(
        "post", f"/threads/{thread.id}/state/checkpoint", {"checkpoint": checkpoint}
    ).json()
    history = history_of(alice_client, thread, limit=10, checkpoint=checkpoint)

    assert state["next"] == ["sub_b"]
    assert history[0]["checkpoint_id"] == state["checkpoint_id"]
    assert [one["next"] for one in history] == [["sub_b"], ["sub_a"], ["__start__"]]


def test_a_namespace_that_no_subgraph_has_is_empty(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})
    asked = {"checkpoint": {"checkpoint_ns": "nobody:1"}}

    state = alice_client.call("post", f"/threads/{thread.id}/state/checkpoint", asked)
    history = alice_client.call("post", f"/threads/{thread.id}/history", asked)

    assert state.json()["values"] == {}
    assert state.json()["checkpoint"]["checkpoint_ns"] == "nobody:1"
    assert history.json() == []


def test_state_at_a_checkpoint(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    third = history_of(alice_client, thread, limit=10)[3]

    by_path = state_of(alice_client, thread, f"/{third['checkpoint_id']}")
    by_body = alice_client.call(
        "post",
        f"/threads/{thread.id}/state/checkpoint",
        {"checkpoint": third["checkpoint"], "subgraphs": None, "select": None},
    ).json()

    assert by_path == by_body == third


@pytest.mark.parametrize("junk", [str(UUID(int=7)), "junk", "%00", "%25", "a%20b"])
def test_an_unknown_checkpoint_is_echoed_with_no_state(
    alice_client: Client, junk: str
) -> None:
    thread = make_thread("echo", {"messages": []})

    state = state_of(alice_client, thread, f"/{junk}")

    assert state["values"] == {}
    assert state["checkpoint"]["thread_id"] == str(thread.id)
    assert state["checkpoint"]["checkpoint_id"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"checkpoint": "a"},
        {"checkpoint": {"checkpoint_id": 5}},
        {"checkpoint": {"checkpoint_ns": ["a"]}},
        {"checkpoint": {"checkpoint_map": "a"}},
        {"checkpoint": {}, "select": 5},
        {"checkpoint": {}, "subgraphs": "perhaps"},
    ],
)
def test_state_at_a_checkpoint_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    thread = make_thread("echo")

    response = alice_client.call(
        "post", f"/threads/{thread.id}/state/checkpoint", wrong
    )

    assert response.status_code == 422
    assert "detail" in response.json()


@pytest.mark.parametrize(
    "query",
    ["?subgraphs=perhaps", '?select=["a"', "?select=bogus", "?select=values,next"],
)
def test_state_refuses_a_malformed_query(alice_client: Client, query: str) -> None:
    thread = make_thread("echo")

    response = alice_client.call("get", f"/threads/{thread.id}/state{query}")

    assert response.status_code == 422


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?select=next", {"next"}),
        ("?select=next&select=values", {"next", "values"}),
        ('?select=["next","tasks"]', {"next", "tasks"}),
        ("?select=checkpoint", {"checkpoint", "checkpoint_id"}),
        ("?select=parent_checkpoint_id", {"parent_checkpoint_id"}),
        ("?select=values.topic", {"values"}),
        ("?select=", set(EMPTY)),
    ],
)
def test_state_selects(alice_client: Client, query: str, expected: set[str]) -> None:
    thread = make_thread("human", {"topic": "t"})

    assert set(state_of(alice_client, thread, query)) == expected


def test_state_selects_some_values(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    select = ["values.topic", "values.unknown"]

    [history] = history_of(alice_client, thread, select=select)

    assert history == {"values": {"topic": "t"}}
    query = "&".join(f"select={name}" for name in select)
    assert state_of(alice_client, thread, f"?{query}") == history


# --- History --------------------------------------------------------------------------
def test_history_is_newest_first_and_has_limits(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    path = f"/threads/{thread.id}/history"

    every = history_of(alice_client, thread, limit=1000)
    one = history_of(alice_client, thread, limit=None, before=None, metadata=None)
    by_get = alice_client.call("get", path).json()
    two = alice_client.call("get", f"{path}?limit=2&before=").json()

    assert [state["metadata"]["step"] for state in every] == [5, 4, 3, 2, 1, 0, -1]
    assert [state["next"] for state in every][-2:] == [["s1"], ["__start__"]]
    assert one == every[:1]
    assert by_get == every
    assert two == every[:2]
    assert every[0]["parent_checkpoint_id"] == every[1]["checkpoint_id"]


def test_history_before_a_checkpoint_in_every_form(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    every = history_of(alice_client, thread, limit=1000)
    checkpoint = every[2]["checkpoint"]

    found = [
        history_of(alice_client, thread, limit=2, before=before)
        for before in (
            checkpoint["checkpoint_id"],
            checkpoint,
            {"configurable": checkpoint},
        )
    ]
    by_get = alice_client.call(
        "get",
        f"/threads/{thread.id}/history?limit=2&before={checkpoint['checkpoint_id']}",
    ).json()

    assert found == [every[3:5]] * 3
    assert by_get == every[3:5]


def test_history_filters_by_metadata(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})

    [found] = history_of(alice_client, thread, limit=10, metadata={"step": 2})
    none = history_of(alice_client, thread, limit=10, metadata={"step": "2"})

    assert found["metadata"]["step"] == 2
    assert none == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "ten"},
        {"before": 5},
        {"before": {}},
        {"before": {"configurable": "a"}},
        {"before": {"checkpoint_id": 7}},
        {"metadata": "a"},
        {"checkpoint": "a"},
        {"checkpoint": {"checkpoint_ns": 5}},
        {"select": 5},
    ],
)
def test_history_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    thread = make_thread("echo")

    response = alice_client.call("post", f"/threads/{thread.id}/history", wrong)

    assert response.status_code == 422
    assert next(iter(wrong)) in response.json()["detail"]


@pytest.mark.parametrize("query", ["?limit=0", "?limit=ten", "?limit=1001"])
def test_history_refuses_a_malformed_query(alice_client: Client, query: str) -> None:
    thread = make_thread("echo")

    response = alice_client.call("get", f"/threads/{thread.id}/history{query}")

    assert response.status_code == 422


def test_history_of_differences(alice_client: Client) -> None:
    thread = make_thread("delta", {"log": ["in"]})
    run_graph(thread, {"log": ["again"]})

    history = history_of(alice_client, thread, limit=100)

    newest = ["in", "a", "b", "again", "a", "b"]
    assert history[0]["values"]["log"] == newest
    assert history[1]["values"]["log"] == newest[:-1]
    assert state_of(alice_client, thread)["values"] == {"log": newest}
    before = f"/{history[2]['checkpoint_id']}"
    assert state_of(alice_client, thread, before)["values"]["log"] == newest[:-2]


def test_history_of_more_than_a_thousand_checkpoints(alice_client: Client) -> None:
    supersteps = [
        {"updates": [{"values": {"log": [str(n)]}, "as_node": "s1"}]}
        for n in range(1010)
    ]
    made = alice_client.call(
        "post",
        "/threads",
        {"metadata": {"graph_id": "slow"}, "supersteps": supersteps},
    ).json()
    thread = Thread.objects.get(pk=made["thread_id"])

    page = history_of(alice_client, thread, limit=1000, select=["checkpoint"])
    before = page[-1]["checkpoint_id"]
    rest = history_of(alice_client, thread, limit=1000, before=before)

    assert len(page) == 1000
    assert len(rest) == 10
    assert rest[-1]["values"]["log"] == ["0"]
    assert len(state_of(alice_client, thread)["values"]["log"]) == 1010


# --- Writing --------------------------------------------------------------------------
def test_update_answers_with_the_new_checkpoint(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    response = update(alice_client, thread, values={"answer": "yes"}, as_node="ask")

    assert response.status_code == 200
    named = response.json()
    assert named["checkpoint"] == named["configurable"]
    assert named["checkpoint_id"] == named["checkpoint"]["checkpoint_id"]
    state = state_of(alice_client, thread)
    assert state["checkpoint"] == named["checkpoint"]
    assert state["values"] == {"topic": "t", "answer": "yes", "log": []}
    assert state["next"] == ["fin"]
    assert state["metadata"]["source"] == "update"


def test_update_moves_the_thread(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    path = f"/threads/{thread.id}"
    before = alice_client.call("get", path).json()

    update(alice_client, thread, values={"answer": "no"}, as_node="ask")
    waiting = alice_client.call("get", path).json()
    update(alice_client, thread, values=None, as_node="__end__")
    done = alice_client.call("get", path).json()

    assert before["status"] == waiting["status"] == "interrupted"
    assert waiting["values"]["answer"] == "no"
    assert waiting["state_updated_at"] > before["state_updated_at"]
    assert done["status"] == "idle"
    assert done["interrupts"] == {}


def test_update_forks(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    third = history_of(alice_client, thread, limit=10)[3]

    by_checkpoint = update(
        alice_client, thread, values={"log": ["x"]}, checkpoint=third["checkpoint"]
    )
    first = state_of(alice_client, thread)
    by_id = update(
        alice_client,
        thread,
        values={"log": ["y"]},
        checkpoint_id=third["checkpoint_id"],
    )
    second = state_of(alice_client, thread)

    assert by_checkpoint.status_code == by_id.status_code == 200
    assert first["values"]["log"] == ["step1", "step2", "x"]
    assert second["values"]["log"] == ["step1", "step2", "y"]
    assert second["parent_checkpoint_id"] == third["checkpoint_id"]


@pytest.mark.parametrize("unknown", [str(UUID(int=7)), "junk"])
def test_update_needs_a_checkpoint_that_exists(
    alice_client: Client, unknown: str
) -> None:
    thread = make_thread("human", {"topic": "t"})
    before = state_of(alice_client, thread)

    response = update(
        alice_client, thread, values={"topic": "x"}, checkpoint_id=unknown
    )

    assert response.status_code == 404
    assert response.json() == {"detail": f"Checkpoint {unknown} not found"}
    assert state_of(alice_client, thread) == before


def test_updates_are_found_by_the_threads_metadata(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    update(alice_client, thread, values={"answer": "a"}, as_node="ask")

    [found] = history_of(alice_client, thread, metadata={"graph_id": "human"})
    assert found["metadata"]["source"] == "update"
    assert found["metadata"]["owner"] == "alice"


def test_update_in_a_subgraph(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})
    checkpoint = state_of(alice_client, thread)["tasks"][0]["checkpoint"]

    response = update(
        alice_client,
        thread,
        values={"log": ["mine"]},
        as_node="sub_b",
        checkpoint=checkpoint,
    )

    assert response.status_code == 200
    inner = alice_client.call(
        "post", f"/threads/{thread.id}/state/checkpoint", {"checkpoint": checkpoint}
    ).json()
    assert inner["values"]["log"][-1] == "mine"
    assert inner["next"] == []


def test_update_accepts_unknown_keys(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    response = update(alice_client, thread, values={"unknown": 1}, as_node="ask")

    assert response.status_code == 200


@pytest.mark.parametrize("as_node", ["__end__", "__copy__", "__input__"])
def test_update_as_a_node_of_langgraphs_own(alice_client: Client, as_node: str) -> None:
    thread = make_thread("human", {"topic": "t"})
    values = {"__input__": {"topic": "new"}}.get(as_node)

    response = update(alice_client, thread, values=values, as_node=as_node)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"values": {"answer": "a"}, "as_node": "zzz"}, "Node zzz does not exist"),
        ({"values": "text"}, "values: must be an object, a list or null"),
        ({"values": 5}, "values: must be an object, a list or null"),
        ({"values": {}, "as_node": 5, "checkpoint": 5}, "checkpoint: must be"),
        ({"values": {"log": 5}, "as_node": "ask"}, ""),
        ({"values": [1, 2], "as_node": "ask"}, ""),
        ({"values": {}, "checkpoint": {"checkpoint_id": {}}}, "checkpoint: "),
        (
            {"values": {}, "checkpoint": {"checkpoint_ns": "nobody"}},
            "Subgraph nobody not found",
        ),
    ],
)
def test_update_refuses_what_has_no_meaning(
    alice_client: Client, wrong: dict[str, Any], detail: str
) -> None:
    thread = make_thread("human", {"topic": "t"})

    response = update(alice_client, thread, **wrong)

    assert response.status_code == 400
    assert detail in response.json()["detail"]


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"{", b""])
def test_update_needs_an_object(alice_client: Client, body: bytes) -> None:
    thread = make_thread("human")

    response = alice_client.post(
        f"/threads/{thread.id}/state", body, content_type="application/json"
    )

    assert response.status_code == 422


def test_update_needs_a_graph(alice_client: Client) -> None:
    thread = Thread.objects.create(metadata={"owner": "alice"})

    response = update(alice_client, thread, values={"a": 1})

    assert response.status_code == 400
    assert "graph" in response.json()["detail"]


def test_update_refuses_a_thread_in_flight(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    Thread.objects.filter(pk=thread.pk).update(status="busy")

    response = update(alice_client, thread, values={"answer": "a"}, as_node="ask")

    assert response.status_code == 409
    assert "answer" not in response.json()["detail"]


def test_a_graph_that_is_not_served_any_more_is_named(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    Thread.objects.update(metadata={"owner": "alice", "graph_id": "gone"})
    path = f"/threads/{thread.id}"

    state = alice_client.call("get", f"{path}/state")
    history = alice_client.call("post", f"{path}/history", {})
    changed = update(alice_client, thread, values={"answer": "a"})

    assert state.status_code == history.status_code == 422
    assert changed.status_code == 404
    for refused in (state, history, changed):
        assert "'gone'" in refused.json()["detail"]
    assert alice_client.call("get", path).json()["values"]["topic"] == "t"


# --- Supersteps -----------------------------------------------------------------------
def test_supersteps_give_a_new_thread_its_state(alice_client: Client) -> None:
    supersteps = [
        {"updates": [{"values": {"topic": "t"}, "as_node": "__start__"}]},
        {
            "updates": [
                {
                    "values": None,
                    "command": {"update": {"answer": "a"}},
                    "as_node": "ask",
                }
            ]
        },
    ]

    response = alice_client.call(
        "post",
        "/threads",
        {"metadata": {"graph_id": "human"}, "supersteps": supersteps},
    )

    assert response.status_code == 200
    thread = response.json()
    assert thread["values"] == {"topic": "t", "answer": "a", "log": []}
    assert thread["status"] == "interrupted"


def test_supersteps_take_commands_in_each_form(alice_client: Client) -> None:
    commands: list[dict[str, Any]] = [
        {"update": [["topic", "t"], ["log", ["a"]], ["log", ["b"]]]},
        {"update": {"log": ["c"]}, "goto": {"node": "fin", "input": {}}},
        {"goto": ["fin", "ask"]},
    ]
    supersteps = [
        {"updates": [{"command": command, "as_node": "ask"}]} for command in commands
    ]

    response = alice_client.call(
        "post",
        "/threads",
        {"metadata": {"graph_id": "human"}, "supersteps": supersteps},
    )

    assert response.status_code == 200
    assert response.json()["values"] == {"topic": "t", "log": ["a", "b", "c"]}
    thread = Thread.objects.get(pk=response.json()["thread_id"])
    assert sorted(state_of(alice_client, thread)["next"]) == ["ask", "fin"]


@pytest.mark.parametrize(
    ("metadata", "update"),
    [
        ({}, {"values": {"topic": "t"}, "as_node": "ask"}),
        ({"graph_id": "gone"}, {"values": {"topic": "t"}, "as_node": "ask"}),
        ({"graph_id": "human"}, {"values": {"topic": "t"}, "as_node": "zzz"}),
        ({"graph_id": "human"}, {"values": {"log": 5}, "as_node": "ask"}),
        ({"graph_id": "human"}, {"command": {"goto": {"a": 1}}, "as_node": "ask"}),
    ],
)
def test_supersteps_that_fail_leave_the_thread(
    alice_client: Client, metadata: dict[str, Any], update: dict[str, Any]
) -> None:
    body = {"metadata": metadata, "supersteps": [{"updates": [update]}]}

    response = alice_client.call("post", "/threads", body)

    assert response.status_code == 201
    thread = Thread.objects.get()
    assert response.json()["detail"].startswith(
        f"Thread {thread.id} was created, but there were problems updating the state: "
    )


def test_supersteps_of_a_thread_that_is_deleted_meanwhile(
    alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_somebody_deletes_it(thread: Thread, steps: Any) -> None:
        update_state(thread, steps)
        delete_threads(Thread.objects.filter(pk=thread.pk))

    monkeypatch.setattr("threads.state.update_state", then_somebody_deletes_it)
    step = {"updates": [{"values": {"topic": "t"}, "as_node": "ask"}]}

    response = alice_client.call(
        "post", "/threads", {"metadata": {"graph_id": "human"}, "supersteps": [step]}
    )

    assert response.status_code == 404


def test_supersteps_leave_an_existing_thread_alone(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    step = {"updates": [{"values": {"topic": "new"}, "as_node": "ask"}]}

    response = alice_client.call(
        "post",
        "/threads",
        {"thread_id": str(thread.id), "if_exists": "do_nothing", "supersteps": [step]},
    )

    assert response.status_code == 200
    assert response.json()["values"]["topic"] == "t"
    assert state_of(alice_client, thread)["values"]["topic"] == "t"


def test_wild_text_in_values(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    body = b'{"values": {"answer": "\\u0000 \\ud800"}, "as_node": "ask"}'

    response = alice_client.post(
        f"/threads/{thread.id}/state", body, content_type="application/json"
    )

    assert response.status_code == 200
    assert UUID(response.json()["checkpoint_id"])
    assert state_of(alice_client, thread)["values"]["answer"] == "\ufffd \ufffd"
