from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from spool.access.policy import EVERYTHING, Scope
from spool.access.tests.people import Client
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import _system_assistants as _system_assistants
from spool.assistants.tests.served import serving, write_echo
from spool.database.loop import Loop
from spool.runs.models import Run, Worker
from spool.runs.run_request import AllowedRun
from spool.runs.serializers import parse_run_request
from spool.runs.services import create_run
from spool.runs.tests.executing import CONFIG, Here, forget_config
from spool.runs.tests.oddities import Executing
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread

ECHO = {"assistant_id": "echo"}


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with one graph, `echo`."""
    path = write_echo(tmp_path_factory.mktemp("graphs"))
    with serving(path, forget_config):
        yield path


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def thread(db: None) -> Thread:
    return Thread.objects.create(metadata={"owner": "alice"})


@pytest.fixture
def path(thread: Thread) -> str:
    return f"/threads/{thread.id}/runs"


@pytest.fixture
def run(alice_client: Client, path: str) -> Run:
    """A pending run of `thread`, created by alice."""
    return Run.objects.get(pk=alice_client.call("post", path, ECHO).json()["run_id"])


@pytest.fixture
def make_run(thread: Thread) -> Callable[..., Run]:
    """Creates a pending run of `thread` as the API does."""

    def make(scope: Scope = EVERYTHING, **body: Any) -> Run:
        request = parse_run_request({"assistant_id": "echo", **body})
        thread_id = body.get("thread_id", thread.id)
        return create_run(AllowedRun(request, scope, thread_id))

    return make


@pytest.fixture(scope="module")
def agents(graphs: Path) -> Iterator[None]:
    """A server with the graphs of `executed.py` instead."""
    with serving(CONFIG, forget_config):
        yield


@pytest.fixture
def make(make_run: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """Creates a pending run of one of those graphs, which log their nodes to a file."""

    def make(graph: str = "steps", **body: Any) -> Run:
        given = {"input": {"folder": str(tmp_path)}, **body}
        return make_run(assistant_id=graph, **given)

    return make


@pytest.fixture
def oddly(loop: Loop, worker: Worker, tmp_path: Path) -> Iterator[Executing]:
    """A worker for the graphs of a test module."""
    register_system_assistants()
    executing = Executing(loop, worker, tmp_path)
    yield executing
    executing.close()


@pytest.fixture
def here(db: None) -> Iterator[Here]:
    here = Here()
    yield here
    here.close()


@pytest.fixture
def webhook_config(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets `webhooks` of langgraph.json, as the environment variable does."""

    def configure(**section: Any) -> None:
        monkeypatch.setenv("LANGGRAPH_WEBHOOKS", json.dumps(section))
        forget_config()

    yield configure
    monkeypatch.undo()
    forget_config()


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A web server on the loopback address, with the requests that it received."""

    url: str
    # The statuses of its responses, in order; the last one is repeated.
    answers: list[int] = field(default_factory=lambda: [200])
    location: str = ""
    body: bytes = b""
    # Whether the connection stays open after the headers, without the body.
    keeps_body: bool = False
    received: list[Received] = field(default_factory=list)
    # While it is clear, the receiver does not answer.
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver(webhook_config: Callable[..., None]) -> Iterator[Receiver]:
    """A receiver that the policy allows."""
    webhook_config(url={"require_https": False, "disable_loopback": False})
    server = _Server(("127.0.0.1", 0), _Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}")
    found.may_answer.set()
    server.receiver = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield found
    found.may_answer.set()
    server.shutdown()
    thread.join()
    server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.received.append(Received(self.path, headers, body))
        receiver.may_answer.wait(WAIT_SECS)
        answers = receiver.answers
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        if receiver.location:
            self.send_header("location", receiver.location)
        self.send_header("content-length", str(len(receiver.body)))
        self.end_headers()
        if receiver.keeps_body:
            receiver.may_answer.clear()
            receiver.may_answer.wait(WAIT_SECS)
        else:
            self.wfile.write(receiver.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log out of the output of the tests."""


@pytest.fixture
def loop(db: None) -> Iterator[Loop]:
    """A worker's loop, with its own connections."""
    loop = Loop(name="test", pool_size=8)
    yield loop
    loop.close()


@pytest.fixture
def worker(db: None) -> Worker:
    return Worker.objects.create(hostname="here", pid=1, capacity=10)
