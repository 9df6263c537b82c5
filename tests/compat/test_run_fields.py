"""Each field of a run's request, sent to a running server, and what it does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import httpx
import pytest

from runs.serializers import RunRequest
from tests.compat.fields import CLAIMS, PAGE, proves, with_table
from tests.compat.wire import Event, parse, without_end
from tests.live import Server, wait_until

HI = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield http


@pytest.fixture
def thread_id(http: httpx.Client) -> str:
    return str(http.post("/threads", json={}).json()["thread_id"])


class Runs:
    """Makes runs on one thread, or on none."""

    def __init__(self, http: httpx.Client, thread_id: str | None) -> None:
        self.http = http
        self.thread_id = thread_id
        self.path = f"/threads/{thread_id}/runs" if thread_id else "/runs"

    def create(self, assistant_id: str, **body: Any) -> dict[str, Any]:
        body["assistant_id"] = assistant_id
        response = self.http.post(self.path, json=body)
        assert response.status_code == 200, response.text
        run: dict[str, Any] = response.json()
        return run

    def wait(self, assistant_id: str, **body: Any) -> Any:
        body["assistant_id"] = assistant_id
        response = self.http.post(f"{self.path}/wait", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def stream(self, assistant_id: str, **body: Any) -> list[Event]:
        body["assistant_id"] = assistant_id
        response = self.http.post(f"{self.path}/stream", json=body)
        assert response.status_code == 200, response.text
        return without_end(parse(response.text))

    def refused(self, assistant_id: str, **body: Any) -> tuple[int, str]:
        body["assistant_id"] = assistant_id
        response = self.http.post(self.path, json=body)
        return response.status_code, response.json()["detail"]

    def one(self, run: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{self.path}/{run['run_id']}").json()
        return found

    def status(self, run: dict[str, Any]) -> str:
        return str(self.one(run).get("status"))

    def thread(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/threads/{self.thread_id}").json()
        return found

    def history(self) -> list[dict[str, Any]]:
        path = f"/threads/{self.thread_id}/history"
        found: list[dict[str, Any]] = self.http.post(path, json={"limit": 100}).json()
        return found


@pytest.fixture
def runs(http: httpx.Client, thread_id: str) -> Runs:
    return Runs(http, thread_id)


@pytest.fixture
def stateless(http: httpx.Client) -> Runs:
    return Runs(http, None)


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


# --- What is run ------------------------------------------------------------------
@pytest.mark.e2e
@proves("assistant_id", "a graph's name", "runs its assistant; unknown names: 422")
def test_assistant_id_may_name_a_graph(runs: Runs) -> None:
    assert runs.wait("echo", input=HI)["messages"][-1]["content"] == "echo: hi"
    assert runs.refused("nobody")[0] == 422


@pytest.mark.e2e
@proves("assistant_id", "an assistant's UUID", "runs it; unknown ones: 404")
def test_assistant_id_may_be_a_uuid(runs: Runs, http: httpx.Client) -> None:
    body = {"graph_id": "reveal", "config": {"tags": ["mine"]}}
    made = http.post("/assistants", json=body).json()

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
@proves("command", "one that says nothing (`{}`, nulls)", "the same as none")
@pytest.mark.parametrize(
    "command", [{}, {"resume": None}, {"goto": []}, {"update": None, "goto": ""}]
)
def test_a_command_that_says_nothing_is_none(runs: Runs, command: Any) -> None:
    values = runs.wait("slow", input={"delay": 0, "n": 3}, command=command)

    assert (values["n"], len(values["log"])) == (3, 5)


@pytest.mark.e2e
@proves("strict_resume", "`true`", "a resume that answers nothing that waits fails")
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
    config = {"configurable": {"user_name": "ann", "thread_id": "of-somebody-else"}}

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
@proves("metadata", "an object", "the run's metadata, and part of what nodes see")
def test_metadata_is_the_runs_and_the_nodes(runs: Runs) -> None:
    run = runs.create("reveal", input={}, metadata={"purpose": "test"})

    told = runs.http.get(f"{runs.path}/{run['run_id']}/join").json()

    assert run["metadata"]["purpose"] == "test"
    assert told["config"]["metadata"]["purpose"] == "test"


# --- From where, and to where ----------------------------------------------------------
@pytest.mark.e2e
@proves(
    "checkpoint_id",
    "of the thread's history",
    "goes on from there, as a fork; unknown ones: 404",
)
def test_checkpoint_id_forks(runs: Runs) -> None:
    runs.wait("slow", input={"delay": 0})
    after_two = state_with(runs, ["step1", "step2"])

    runs.wait("slow", checkpoint_id=after_two["checkpoint"]["checkpoint_id"])

    newest = runs.history()[0]
    assert newest["values"]["log"] == [f"step{n}" for n in range(1, 6)]
    assert len([s for s in runs.history() if s["next"] == ["s4"]]) == 2
    assert runs.refused("slow", checkpoint_id="junk")[0] == 422
    assert runs.refused("slow", checkpoint_id=str(uuid4()))[0] == 404
    assert runs.history()[0]["values"] == newest["values"]


@pytest.mark.e2e
@proves("checkpoint", "as in a state", "the same; of another thread: 422")
def test_checkpoint_forks(runs: Runs) -> None:
    runs.wait("slow", input={"delay": 0})
    checkpoint = state_with(runs, ["step1", "step2"])["checkpoint"]

    values = runs.wait("slow", input={"n": 7}, checkpoint=checkpoint)

    assert values["n"] == 7
    assert values["log"][:3] == ["step1", "step2", "step1"]
    elsewhere = {**checkpoint, "thread_id": str(uuid4())}
    assert runs.refused("slow", checkpoint=elsewhere)[0] == 422


def state_with(runs: Runs, log: list[str]) -> dict[str, Any]:
    return next(s for s in runs.history() if s["values"].get("log") == log)


@pytest.mark.e2e
@proves("interrupt_before", "node names or `*`", "stops before them")
@pytest.mark.parametrize(("given", "log"), [(["s3"], 2), ("*", 0)])
def test_interrupt_before_stops_there(runs: Runs, given: Any, log: int) -> None:
    values = runs.wait("slow", input={"delay": 0}, interrupt_before=given)

    assert len(values["log"]) == log
    assert runs.thread()["status"] == "interrupted"
    assert runs.refused("slow", interrupt_before="s3")[0] == 422


@pytest.mark.e2e
@proves("interrupt_after", "node names or `*`", "stops after them")
@pytest.mark.parametrize(("given", "log"), [(["s3"], 3), ("*", 1)])
def test_interrupt_after_stops_there(runs: Runs, given: Any, log: int) -> None:
    values = runs.wait("slow", input={"delay": 0}, interrupt_after=given)

    assert len(values["log"]) == log
    assert runs.thread()["status"] == "interrupted"
    assert runs.refused("slow", interrupt_after="s3")[0] == 422


@pytest.mark.e2e
@proves("durability", "`sync`, `async`, `exit`", "7 checkpoints of 5 steps, or 1")
@pytest.mark.parametrize(("given", "count"), [("sync", 7), ("async", 7), ("exit", 1)])
def test_durability_says_how_often_state_is_saved(
    runs: Runs, given: str, count: int
) -> None:
    runs.wait("slow", input={"delay": 0}, durability=given)

    assert len(runs.history()) == count


@pytest.mark.e2e
@proves("checkpoint_during", "`false`", "the same as `durability` of `exit`")
@pytest.mark.parametrize(("given", "count"), [(False, 1), (True, 7)])
def test_checkpoint_during_is_an_older_durability(
    runs: Runs, given: bool, count: int
) -> None:
    runs.wait("slow", input={"delay": 0}, checkpoint_during=given)

    assert len(runs.history()) == count


# --- What is streamed -------------------------------------------------------------------
@pytest.mark.e2e
@proves("stream_mode", "one mode or several", "streams them; unknown ones: 422")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("values", {"values"}),
        (["updates", "custom"], {"updates", "custom"}),
        ("messages", set()),
        ("tasks", {"tasks"}),
        ("checkpoints", {"checkpoints"}),
        ("debug", {"debug"}),
        ("events", {"events"}),
        ("messages-tuple", set()),
    ],
)
def test_stream_mode_says_what_is_streamed(
    runs: Runs, given: Any, expected: set[str]
) -> None:
    events = runs.stream("slow", input={"delay": 0}, stream_mode=given)

    assert set(names(events)) == {"metadata", *expected}
    assert runs.refused("slow", stream_mode="lifecycle")[0] == 422


@pytest.mark.e2e
@proves("stream_mode", "`messages`, `messages-tuple`", "streams messages as they come")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("messages", {"messages/metadata", "messages/partial"}),
        ("messages-tuple", {"messages"}),
    ],
)
def test_stream_mode_streams_messages(
    runs: Runs, given: str, expected: set[str]
) -> None:
    events = runs.stream("chat", input=HI, stream_mode=given)

    assert set(names(events)) == {"metadata", *expected}


@pytest.mark.e2e
@proves("stream_subgraphs", "`true`", "events of subgraphs too, with their namespace")
@pytest.mark.parametrize("given", [True, False])
def test_stream_subgraphs_streams_them(runs: Runs, given: bool) -> None:
    events = runs.stream(
        "nested", input={"topic": "x"}, stream_mode="updates", stream_subgraphs=given
    )

    assert any(name.startswith("updates|child:") for name in names(events)) is given


@pytest.mark.e2e
@proves("stream_resumable", "`true`", "events have ids, and can be had again")
@pytest.mark.parametrize("given", [True, False])
def test_stream_resumable_gives_ids(runs: Runs, given: bool) -> None:
    events = runs.stream("echo", input=HI, stream_resumable=given)

    assert {event.id is not None for event in events} == {given}


# --- Its thread ----------------------------------------------------------------------
@pytest.mark.e2e
@proves("multitask_strategy", "`reject`", "409 while the thread is busy")
def test_multitask_reject(runs: Runs) -> None:
    first = runs.create("slow", input={"delay": 0.3})

    assert runs.refused("echo", multitask_strategy="reject")[0] == 409
    cancel(runs, first)


def cancel(runs: Runs, run: dict[str, Any]) -> None:
    runs.http.post(f"{runs.path}/{run['run_id']}/cancel?wait=1").raise_for_status()


@pytest.mark.e2e
@proves("multitask_strategy", "`enqueue`", "waits for its turn")
def test_multitask_enqueue(runs: Runs) -> None:
    first = runs.create("slow", input={"delay": 0.1})

    runs.wait("slow", input={"delay": 0}, multitask_strategy="enqueue")

    assert runs.status(first) == "success"
    assert len(runs.thread()["values"]["log"]) == 10


@pytest.mark.e2e
@proves("multitask_strategy", "`interrupt`", "stops the active run, goes on from there")
def test_multitask_interrupt(runs: Runs) -> None:
    first = runs.create("slow", input={"delay": 0.3})
    wait_until(lambda: len(runs.history()) >= 3, 20)

    runs.wait("slow", input={"delay": 0}, multitask_strategy="interrupt")

    assert runs.status(first) == "interrupted"
    assert 5 < len(runs.thread()["values"]["log"]) < 10


@pytest.mark.e2e
@proves("multitask_strategy", "`rollback`", "takes the active run back first")
def test_multitask_rollback(runs: Runs) -> None:
    first = runs.create("slow", input={"delay": 0.3})
    wait_until(lambda: len(runs.history()) >= 3, 20)

    runs.wait("slow", input={"delay": 0}, multitask_strategy="rollback")

    assert runs.http.get(f"{runs.path}/{first['run_id']}").status_code == 404
    assert len(runs.thread()["values"]["log"]) == 5


@pytest.mark.e2e
@proves("if_not_exists", "`create`, `reject`", "makes a missing thread, or 404")
def test_if_not_exists_makes_the_thread(http: httpx.Client) -> None:
    runs = Runs(http, str(uuid4()))
    refused = runs.refused("echo", input=HI, if_not_exists="reject")

    runs.wait("echo", input=HI, if_not_exists="create", metadata={"purpose": "test"})

    assert refused[0] == 404
    assert runs.thread()["metadata"]["purpose"] == "test"


@pytest.mark.e2e
@proves("on_completion", "`delete`, `keep`", "what becomes of a stateless run's thread")
@pytest.mark.parametrize(("given", "status"), [("delete", 404), ("keep", 200)])
def test_on_completion_keeps_or_deletes_the_thread(
    stateless: Runs, http: httpx.Client, given: str, status: int
) -> None:
    response = http.post(
        "/runs/wait",
        json={"assistant_id": "echo", "input": HI, "on_completion": given},
    )

    path = response.headers["content-location"].split("/runs/")[0]
    assert http.get(path).status_code == status


@pytest.mark.e2e
@proves("on_disconnect", "`cancel`", "the run is interrupted when its client leaves")
@pytest.mark.parametrize(
    ("given", "status"), [("cancel", "interrupted"), ("continue", "success")]
)
@pytest.mark.parametrize("kind", ["stream", "wait"])
def test_on_disconnect_cancels_or_goes_on(
    runs: Runs, kind: str, given: str, status: str
) -> None:
    body = {
        "assistant_id": "slow",
        "input": {"delay": 0.2},
        "on_disconnect": given,
    }
    with runs.http.stream("POST", f"{runs.path}/{kind}", json=body) as response:
        run = {"run_id": response.headers["content-location"].rpartition("/")[2]}
        wait_until(lambda: runs.status(run) == "running", 20)

    wait_until(lambda: runs.status(run) not in ("pending", "running"), 20)

    assert runs.status(run) == status


@pytest.mark.e2e
@proves("after_seconds", "a number", "the run waits so long, its thread is `busy`")
def test_after_seconds_waits(runs: Runs) -> None:
    before = time.monotonic()
    run = runs.create("echo", input=HI, after_seconds=1.5)
    waiting = (runs.status(run), runs.thread()["status"])

    runs.http.get(f"{runs.path}/{run['run_id']}/join")

    assert waiting == ("pending", "busy")
    assert time.monotonic() - before >= 1.4
    assert runs.status(run) == "success"


# --- Who is told ------------------------------------------------------------------------
@pytest.fixture
def hook() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """A receiver's URL, and what it was sent."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            received.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Not in the output of the tests."""

    def first() -> dict[str, Any]:
        wait_until(lambda: received, 20)
        return received[0]

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", first
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.e2e
@proves("webhook", "an http URL", "is sent the run and its values; a bad one: 422")
def test_webhook_is_called(
    runs: Runs, hook: tuple[str, Callable[[], dict[str, Any]]]
) -> None:
    url, first = hook
    values = runs.wait("echo", input=HI, webhook=url)

    sent = first()

    assert sent["values"] == values
    assert sent["status"] == "success"
    assert sent["thread_id"] == runs.thread_id
    assert sent["kwargs"]["webhook"] == url
    assert runs.refused("echo", webhook="http://10.0.0.1/")[0] == 422


@pytest.mark.e2e
@proves("webhook", "of a run that fails", "is sent the error")
def test_webhook_is_told_of_errors(
    runs: Runs, hook: tuple[str, Callable[[], dict[str, Any]]]
) -> None:
    url, first = hook
    runs.wait("raises", input={}, webhook=url)

    sent = first()

    assert sent["status"] == "error"
    assert sent["error"] == {"error": "ValueError", "message": "boom happened"}


@pytest.mark.e2e
@proves(
    "langsmith_tracer",
    "`project_name`, `example_id`",
    "where the trace goes, if tracing is on (`LANGSMITH_TRACING`)",
)
def test_langsmith_tracer_names_the_project(runs: Runs) -> None:
    tracing = {"project_name": "mine", "example_id": str(uuid4())}

    run = runs.create("echo", input=HI, langsmith_tracer=tracing)

    assert run["langsmith_session_name"] == "mine"
    assert run["kwargs"]["langsmith_tracer"] == tracing
    assert runs.refused("echo", langsmith_tracer={"example_id": "x"})[0] == 422


@pytest.mark.e2e
@proves(
    "feedback_keys",
    "a list",
    "kept in `kwargs`; no `feedback` event, as from the official server without LangSmith",
)
def test_feedback_keys_are_kept(runs: Runs) -> None:
    events = runs.stream("echo", input=HI, feedback_keys=["thumbs"])

    [run] = runs.http.get(runs.path).json()
    assert run["kwargs"]["feedback_keys"] == ["thumbs"]
    assert "feedback" not in names(events)


# --- The table --------------------------------------------------------------------------
def test_every_field_has_a_test() -> None:
    assert {claim.field for claim in CLAIMS} == set(RunRequest().fields)


def test_the_page_has_the_table_of_these_tests() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == with_table(page), "run `python -m tests.compat`"


@pytest.mark.e2e
@pytest.mark.parametrize("field", sorted(RunRequest().fields))
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
