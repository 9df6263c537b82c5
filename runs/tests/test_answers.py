"""Results of runs of graphs with several schemas, interrupts and kinds of values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from spool.access.scope import Scope
from spool.access.tests.people import Client
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import GRAPHS, serving
from spool.runs.models import Run
from spool.runs.streaming import run_stream
from spool.runs.tests.executing import Here, forget_config, published
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _graphs(graphs: Path) -> Iterator[None]:
    with serving(GRAPHS, forget_config):
        yield


@pytest.fixture
def execute(here: Here, make_run: Callable[..., Run]) -> Callable[..., Run]:
    """Creates a run and executes it to its end."""

    def execute(graph: str, **body: Any) -> Run:
        register_system_assistants()
        run = make_run(assistant_id=graph, **body)
        here.execute(run)
        run.refresh_from_db()
        return run

    return execute


def told(run: Run, name: str) -> list[Any]:
    return [
        json.loads(data) for event, data in published(run.thread_id) if event == name
    ]


@pytest.mark.parametrize("graph", ["private_state", "private_factory"])
def test_private_state_stays_on_the_server(
    execute: Callable[..., Run], graph: str
) -> None:
    modes = ["values", "updates"]
    run = execute(graph, input={"question": "hi"}, stream_mode=modes)

    assert told(run, "values")[-1] == {"answer": "HI"}
    assert told(run, "updates") == [{"think": None}, {"speak": {"answer": "HI"}}]
    whole = {"answer": "HI", "question": "hi", "secret": "not for clients"}
    assert Thread.objects.get(pk=run.thread_id).values == whole
    # The result when the events are gone.
    assert run_stream.result(run.id) == {"answer": "HI"}
    assert run_stream.result(run.id, whole=True) == whole


def test_private_state_stays_on_the_server_at_an_interrupt(
    execute: Callable[..., Run],
) -> None:
    run = execute("private_state", input={"question": "stop"})

    [asked] = run_stream.result(run.id)["__interrupt__"]
    assert asked["value"] == "really?"
    assert set(run_stream.result(run.id)) == {"__interrupt__"}
    assert Thread.objects.get(pk=run.thread_id).values["secret"] == "not for clients"
    assert "not for clients" not in str(published(run.thread_id))


def test_interrupts_keep_the_order_of_their_tasks(
    execute: Callable[..., Run], alice_client: Client
) -> None:
    run = execute("ask_in_parallel", input={"questions": list("abcd")})

    path = f"/threads/{run.thread_id}"
    thread = alice_client.call("get", path).json()
    state = alice_client.call("get", f"{path}/state").json()
    selected = {"ids": [str(run.thread_id)], "select": ["interrupts"]}
    [found] = alice_client.call("post", "/threads/search", selected).json()
    for interrupts in (
        run_stream.result(run.id)["__interrupt__"],
        [one for task in thread["interrupts"].values() for one in task],
        [one for task in found["interrupts"].values() for one in task],
        state["interrupts"],
    ):
        assert [one["value"] for one in interrupts] == list("abcd")


def test_a_state_may_have_the_name_of_interrupts_in_it(
    execute: Callable[..., Run],
) -> None:
    run = execute("values", input={"kind": "text"})

    thread = Thread.objects.get(pk=run.thread_id)
    assert thread.status == Thread.Status.IDLE
    assert thread.values["out"] == {"__interrupt__": ["__interrupt__"]}
    assert run_stream.result(run.id)["out"] == thread.values["out"]


@pytest.mark.parametrize(
    ("graph", "body", "seen"),
    [
        ("dataclass_context", {}, ["default-model"]),
        ("sent_context", {"context": None}, ["default-model"] * 2),
        ("model_context", {"config": {"tags": ["t"]}}, ["default-model"]),
        ("needy_context", {}, [None]),
        ("dataclass_context", {"context": {"model": "m", "zzz": 1}}, ["m"]),
        ("model_context", {"config": {"configurable": {"model": "m", "z": 1}}}, ["m"]),
        ("dict_context", {"context": {"model": "m", "zzz": 1}}, [{"model": "m"}]),
        ("no_context", {"context": {"zzz": 1}}, [{"zzz": 1}]),
        ("no_context", {}, [None]),
    ],
)
def test_a_run_fits_the_context_of_its_graph(
    execute: Callable[..., Run], graph: str, body: dict[str, Any], seen: list[Any]
) -> None:
    run = execute(graph, input={}, **body)

    assert told(run, "values")[-1] == {"seen": seen}


@pytest.mark.parametrize("where", ["context", "configurable", "assistant"])
def test_a_client_names_its_users_and_says_not_who_is_asking(
    execute: Callable[..., Run], where: str
) -> None:
    spoofed = {
        "langgraph_auth_user": {"identity": "root"},
        "langgraph_auth_user_id": "root",
        "langgraph_auth_permissions": ["root"],
    }
    given = {"user_id": "u1", **spoofed}
    graph, body = "configurable", {where: given}
    if where == "configurable":
        body = {"config": {"configurable": given}}
    elif where == "assistant":
        config = {"configurable": given}
        stored = Assistant.objects.create(graph_id=graph, config=config, context=given)
        graph, body = str(stored.id), {}
    alice = Scope("alice", user={"identity": "alice", "permissions": []})

    run = execute(graph, scope=alice, input={}, **body)

    seen = told(run, "values")[-1]["out"]
    assert seen["configurable"]["user_id"] == "u1"
    assert seen["configurable"]["langgraph_auth_user_id"] == "alice"
    assert seen["context"] == {"user_id": "u1"}
    assert "root" not in str(published(run.thread_id))


def test_a_callers_identity_is_the_default_of_the_users_id(
    execute: Callable[..., Run],
) -> None:
    alice = Scope("alice", user={"identity": "alice", "permissions": []})

    run = execute("configurable", scope=alice, input={})

    assert told(run, "values")[-1]["out"]["configurable"]["user_id"] == "alice"


@pytest.mark.parametrize(
    ("kind", "error"),
    [("?", "ValueError"), ("clumsy", "Clumsy")],
)
def test_an_exception_without_a_text_has_one_for_clients(
    execute: Callable[..., Run], kind: str, error: str
) -> None:
    modes = ["tasks", "debug"]
    run = execute("values", input={"kind": kind}, stream_mode=modes)

    expected = {"error": error, "message": "An internal error occurred"}
    assert run.error == expected
    assert Thread.objects.get(pk=run.thread_id).error == expected
    assert told(run, "error") == [expected]
    assert run_stream.result(run.id) == {"__error__": expected}
    [failed] = [task for task in told(run, "tasks") if task.get("error")]
    assert failed["error"] == expected


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("summer", "2024-07-01T03:04:05+02:00"),
        ("naive", "2024-01-01T03:04:05"),
        ("utc", "2024-01-01T00:00:00+00:00"),
    ],
)
def test_datetimes_are_written_as_python_does(
    execute: Callable[..., Run], alice_client: Client, kind: str, written: str
) -> None:
    run = execute("values", input={"kind": kind})

    path = f"/threads/{run.thread_id}"
    state = alice_client.call("get", f"{path}/state").json()
    thread = alice_client.call("get", path).json()
    assert told(run, "values")[-1]["out"] == written
    assert state["values"]["out"] == thread["values"]["out"] == written
    # The format of the server's own times is unchanged.
    assert len(thread["created_at"]) == len("2026-11-23T08:48:37.301094+00:00")


def test_metadata_of_a_config_is_metadata_of_the_run(
    execute: Callable[..., Run],
) -> None:
    config = {"metadata": {"purpose": "test", "both": "config"}}
    run = execute(
        "values", input={"kind": "utc"}, config=config, metadata={"both": "run"}
    )

    assert (run.metadata["purpose"], run.metadata["both"]) == ("test", "run")
    kept = Thread.objects.get(pk=run.thread_id).config["metadata"]
    assert kept == config["metadata"]


@pytest.mark.parametrize(
    "body",
    [
        {"stream_mode": []},
        {"stream_mode": None},
        {"command": {"lg_name": "Command", "goto": []}},
    ],
)
def test_what_says_nothing_counts_as_left_out(
    execute: Callable[..., Run], body: dict[str, Any]
) -> None:
    run = execute("private_state", input={"question": "hi"}, **body)

    assert told(run, "values")[-1] == {"answer": "HI"}


def test_a_command_of_the_javascript_library_resumes(
    execute: Callable[..., Run],
) -> None:
    execute("private_state", input={"question": "stop"})
    command = {"lg_name": "Command", "resume": {"ok": True}, "goto": []}

    run = execute("private_state", command=command)

    assert run.kwargs["command"] == {"resume": {"ok": True}, "goto": []}
    assert told(run, "values")[-1] == {"answer": "STOP"}


KEYS = {"zeta": 1, "a": {"y": 1, "bb": 2, "c": 3}}


def test_keys_keep_the_order_that_the_client_gave_them(
    execute: Callable[..., Run], alice_client: Client
) -> None:
    run = execute("values", input={"kind": "keys", "out": KEYS}, webhook=None)

    keys, written = told(run, "values")[-1]["out"]
    assert keys == ["zeta", "a"]
    assert json.dumps(written) == '{"zeta": {"y": 1, "b": 2}, "a": 2}'
    path = f"/threads/{run.thread_id}/runs/{run.id}"
    shown = alice_client.call("get", path).json()["kwargs"]
    assert json.dumps(shown["input"]["out"]) == json.dumps(KEYS)
    # Stored only once, in the column `given`.
    with connection.cursor() as cursor:
        cursor.execute("SELECT kwargs ? 'input', given::text FROM runs")
        assert cursor.fetchone()[0] is False


@pytest.mark.parametrize("where", ["context", "configurable"])
def test_a_context_keeps_the_order_of_its_keys(
    execute: Callable[..., Run], where: str
) -> None:
    body = {"context": KEYS} if where == "context" else {"config": {where: KEYS}}

    run = execute("no_context", input={}, **body)

    assert json.dumps(told(run, "values")[-1]["seen"]) == json.dumps([KEYS])


def test_a_run_that_an_older_web_process_stored_is_executed(
    here: Here, make_run: Callable[..., Run]
) -> None:
    register_system_assistants()
    run = make_run(assistant_id="private_state", input={"question": "hi"})
    Run.objects.filter(pk=run.pk).update(kwargs=run.kwargs, given=None)

    here.execute(run)

    assert run_stream.result(run.id) == {"answer": "HI"}
    assert Run.objects.get().kwargs["input"] == {"question": "hi"}
