"""Each field of a run's request, sent to a running server, and its effect."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from spool.runs.serializers import RunRequestSerializer
from spool.tests.compat.fields import PAGE, claims, proves, with_table
from spool.tests.compat.runs import HI, Runs


# --- What is run ------------------------------------------------------------------
@pytest.mark.e2e
@proves("assistant_id", "a graph's name", "runs its assistant; unknown names: 422")
def test_assistant_id_may_name_a_graph(runs: Runs) -> None:
    assert runs.wait("echo", input=HI)["messages"][-1]["content"] == "echo: hi"
    assert runs.refused("unknown")[0] == 422


@pytest.mark.e2e
@proves("assistant_id", "an assistant's UUID", "runs it; unknown ones: 404")
def test_assistant_id_may_be_a_uuid(runs: Runs, sync_http: httpx.Client) -> None:
    body = {"graph_id": "reveal", "config": {"tags": ["mine"]}}
    made = sync_http.post("/assistants", json=body).json()

    told = runs.wait(made["assistant_id"], input={})

    assert told["config"]["tags"] == ["mine"]
    assert runs.refused(str(uuid4()))[0] == 404


@pytest.mark.e2e
@proves("input", "any JSON", "the graph's input; shown in `kwargs`")
def test_input_reaches_the_graph(runs: Runs) -> None:
    run = runs.create("slow", input={"delay": 0.01, "n": 3})

    joined = runs.http.get(f"{runs.path}/{run['run_id']}/join").json()

    assert joined["n"] == 3
    assert run["kwargs"]["input"] == {"delay": 0.01, "n": 3}


@pytest.mark.e2e
@proves("command", "`resume`", "answers the waiting interrupt; without a thread: 400")
def test_command_resumes(runs: Runs, stateless: Runs) -> None:
    asked = runs.wait("human", input={"topic": "x"})

    values = runs.wait("human", command={"resume": "yes"})

    assert asked["__interrupt__"][0]["value"]["question"] == "approve?"
    assert values == {"topic": "x", "answer": "yes", "log": ["ask", "fin"]}
    assert stateless.refused("human", command={"resume": "yes"})[0] == 400


@pytest.mark.e2e
@proves("command", "`update`", "updates the state, as an object or as pairs")
@pytest.mark.parametrize("update", [{"answer": "no"}, [["answer", "no"]]])
def test_command_updates(runs: Runs, update: Any) -> None:
    runs.wait("human", input={"topic": "x"})

    values = runs.wait("human", command={"update": update, "goto": "fin"})

    assert values["answer"] == "no"


@pytest.mark.e2e
@proves("command", "`goto`", "a node, `{node, input}`, or a list of those; else 422")
@pytest.mark.parametrize(
    ("goto", "times"),
    [
        ("s5", 1),
        (["s5"], 1),
        ({"node": "s5", "input": {"delay": 0}}, 1),
        (["s5", {"node": "s5", "input": {"delay": 0}}], 2),
    ],
)
def test_command_goes_to_a_node(runs: Runs, goto: Any, times: int) -> None:
    runs.wait("slow", input={"delay": 0})

    values = runs.wait("slow", command={"goto": goto})

    assert values["log"][5:] == ["step5"] * times
    assert runs.refused("slow", command={"goto": 7})[0] == 422


@pytest.mark.e2e
@proves("command", "together with `input`", "the command wins")
def test_a_command_wins_over_input(runs: Runs) -> None:
    runs.wait("human", input={"topic": "x"})

    values = runs.wait("human", input={"topic": "y"}, command={"resume": "yes"})

    assert (values["topic"], values["answer"]) == ("x", "yes")


@pytest.mark.e2e
@proves("command", "an empty one (`{}`, nulls)", "the same as no command")
@pytest.mark.parametrize(
    "command", [{}, {"resume": None}, {"goto": []}, {"update": None, "goto": ""}]
)
def test_a_command_that_says_nothing_is_none(runs: Runs, command: Any) -> None:
    values = runs.wait("slow", input={"delay": 0, "n": 3}, command=command)

    assert (values["n"], len(values["log"])) == (3, 5)


@pytest.mark.e2e
@proves("strict_resume", "`true`", "a resume that answers no open interrupt fails")
def test_strict_resume_refuses_unknown_interrupts(runs: Runs) -> None:
    runs.wait("human", input={"topic": "x"})
    wrong = {"resume": {"0" * 32: "yes"}}

    answer = runs.wait("human", command=wrong, strict_resume=True)
    thread = runs.thread()
    values = runs.wait("human", command={"resume": "yes"}, strict_resume=True)

    assert answer["__error__"]["error"] == "UnknownInterruptError"
    assert thread["status"] == "interrupted"
    assert values["answer"] == "yes"


# --- With what ------------------------------------------------------------------------
@pytest.mark.e2e
@proves(
    "config",
    "`tags`, `metadata`, `recursion_limit`, `max_concurrency`",
    "what nodes see in their config",
)
def test_config_reaches_the_nodes(runs: Runs) -> None:
    config = {
        "tags": ["a", "b"],
        "metadata": {"purpose": "test"},
        "recursion_limit": 7,
        "max_concurrency": 2,
    }

    told = runs.wait("reveal", input={}, config=config)["config"]

    assert set(told["tags"]) == {"a", "b"}
    assert told["metadata"]["purpose"] == "test"
    assert (told["recursion_limit"], told["max_concurrency"]) == (7, 2)


@pytest.mark.e2e
@proves("config", "`recursion_limit` of 2", "a longer run ends as `error`")
def test_the_recursion_limit_is_kept(runs: Runs) -> None:
    answer = runs.wait("slow", input={"delay": 0}, config={"recursion_limit": 2})

    assert answer["__error__"]["error"] == "GraphRecursionError"


@pytest.mark.e2e
@proves("config", "`configurable`", "what nodes see there, and in `context`")
def test_configurable_reaches_the_nodes(runs: Runs) -> None:
    config = {"configurable": {"user_name": "ann", "thread_id": "of-another-user"}}

    told = runs.wait("reveal", input={}, config=config)

    assert told["config"]["configurable"]["user_name"] == "ann"
    assert told["config"]["configurable"]["thread_id"] == runs.thread_id
    assert told["context"]["user_name"] == "ann"


@pytest.mark.e2e
def test_nodes_and_states_tell_which_request_made_their_run(runs: Runs) -> None:
    body = {"assistant_id": "reveal", "input": {}}
    named = {"X-Request-ID": "of-mine-7"}

    told = runs.http.post(f"{runs.path}/wait", json=body, headers=named).json()

    assert told["config"]["configurable"]["langgraph_request_id"] == "of-mine-7"
    assert runs.history()[0]["metadata"]["langgraph_request_id"] == "of-mine-7"


@pytest.mark.e2e
@proves("context", "an object", "`runtime.context`; with `config.configurable`: 400")
def test_context_reaches_the_nodes(runs: Runs) -> None:
    context = {"user_name": "ann"}

    told = runs.wait("reveal", input={}, context=context)

    assert told["context"] == context
    assert told["config"]["configurable"]["user_name"] == "ann"
    both = {"context": context, "config": {"configurable": {"a": 1}}}
    assert runs.refused("reveal", **both)[0] == 400


@pytest.mark.e2e
@proves(
    "metadata",
    "an object",
    "the run's metadata, and part of the metadata that nodes see",
)
def test_metadata_is_the_runs_and_the_nodes(runs: Runs) -> None:
    run = runs.create("reveal", input={}, metadata={"purpose": "test"})

    told = runs.http.get(f"{runs.path}/{run['run_id']}/join").json()

    assert run["metadata"]["purpose"] == "test"
    assert told["config"]["metadata"]["purpose"] == "test"


# --- The table --------------------------------------------------------------------------
def test_every_field_has_a_test() -> None:
    assert {claim.field for claim in claims()} == set(RunRequestSerializer().fields)


def test_the_page_has_the_table_of_these_tests() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == with_table(page), "run `python -m spool.tests.compat`"


@pytest.mark.e2e
@pytest.mark.parametrize("field", sorted(RunRequestSerializer().fields))
def test_a_value_of_the_wrong_type_is_refused(runs: Runs, field: str) -> None:
    wrong: Any = {"not": "it"} if field not in OBJECTS else 7
    body = {"assistant_id": "echo", **{field: wrong}}

    response = runs.http.post(runs.path, json=body)

    assert (response.status_code == 200) is (field == "input")
    assert response.status_code == 200 or field in response.json()["detail"]


OBJECTS = {
    "checkpoint",
    "command",
    "config",
    "context",
    "langsmith_tracer",
    "metadata",
}
