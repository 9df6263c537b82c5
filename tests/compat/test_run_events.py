"""The fields for a run's events: what is streamed, and to which receivers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import pytest

from spool.tests.compat.fields import proves
from spool.tests.compat.runs import HI, Runs, names
from spool.tests.live import wait_until


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
@proves(
    "stream_mode",
    "`messages`, `messages-tuple`",
    "streams messages while they are generated",
)
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
@proves("stream_resumable", "`true`", "events have ids, and can be read again")
@pytest.mark.parametrize("given", [True, False])
def test_stream_resumable_gives_ids(runs: Runs, given: bool) -> None:
    events = runs.stream("echo", input=HI, stream_resumable=given)

    assert {event.id is not None for event in events} == {given}


# --- Receivers ------------------------------------------------------------------------
@pytest.fixture
def hook() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """A receiver's URL, and the requests that it has received."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            received.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the log out of the output of the tests."""

    def first() -> dict[str, Any]:
        wait_until(lambda: received)
        return received[0]

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", first
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.e2e
@proves("webhook", "an http URL", "receives the run and its values; a bad URL: 422")
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
@proves("webhook", "of a run that fails", "receives the error")
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
    "kept in `kwargs`; no `feedback` event is sent, as on the official server without LangSmith",
)
def test_feedback_keys_are_kept(runs: Runs) -> None:
    events = runs.stream("echo", input=HI, feedback_keys=["thumbs"])

    [run] = runs.http.get(runs.path).json()
    assert run["kwargs"]["feedback_keys"] == ["thumbs"]
    assert "feedback" not in names(events)
