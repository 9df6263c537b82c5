"""Traces that a receiver gets from whole servers, over the real protocol."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

from spool.tests.company import ENVIRONMENT, Company, Run, begun, has_begun, hold
from spool.tests.conftest import CONFIG
from spool.tests.live import WAIT_SECS, Server, serving, wait_until
from spool.tests.otlp import Receiver, Span, receiving

pytestmark = pytest.mark.e2e

INPUT = {"messages": [{"role": "user", "content": "hi"}]}
SERVER, CLIENT = 2, 3


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(receiver: Receiver) -> Iterator[Server]:
    given = {**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    with serving(CONFIG, workers=1, **given) as server:
        yield server


@pytest.fixture
def company(server: Server) -> Iterator[Company]:
    server.wait_until_ready()
    company = Company(server)
    yield company
    company.dismiss()


def new_trace() -> tuple[str, dict[str, str]]:
    """The id of a trace that a client begins, and its headers."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{CLIENT_SPAN}-01"}


CLIENT_SPAN = "00f067aa0ba902b7"


class Tree:
    """The spans of one trace, by name and by parent."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self.by_id = {span.span_id: span for span in spans}

    def one(self, name: str) -> Span:
        [found] = self.all(name)
        return found

    def all(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def path(self, span: Span) -> list[str]:
        """The names of the spans from the first one to this one."""
        parent = self.by_id.get(span.parent_id)
        return [*(self.path(parent) if parent else []), span.name]

    @property
    def orphans(self) -> list[str]:
        """Names of spans whose parent is missing, unless it is the client's span."""
        known = {*self.by_id, CLIENT_SPAN, ""}
        return [span.name for span in self.spans if span.parent_id not in known]


def whole(receiver: Receiver, trace_id: str, *names: str) -> Tree:
    """Wait for a trace with spans of these names, and with all their parents."""
    receiver.wait_for(trace_id, *names)
    wait_until(lambda: not Tree(receiver.of_trace(trace_id)).orphans)
    return Tree(receiver.of_trace(trace_id))


STREAM = "POST /runs/stream"
ATTEMPT = [STREAM, "invoke_agent traced"]
THINK = [*ATTEMPT, "node inner", "node think", "chat counted-1"]
ACT = [*ATTEMPT, "node act", "execute_tool look_up"]


def streamed(company: Company, receiver: Receiver) -> Tree:
    """The trace of a run whose tool calls this server as if it were another one."""
    trace_id, headers = new_trace()
    body = {"assistant_id": "traced", "input": INPUT, "stream_mode": "values"}
    company.http.post("/runs/stream", json=body, headers=headers).raise_for_status()
    return whole(receiver, trace_id, *ATTEMPT, "invoke_agent echo")


def test_a_streamed_run_is_one_trace(company: Company, receiver: Receiver) -> None:
    tree = streamed(company, receiver)

    [request] = [span for span in tree.all(STREAM) if span.parent_id == CLIENT_SPAN]
    assert (request.kind, request.program) == (SERVER, "web")
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["spool.request.id"]
    assert [STREAM, "queue"] in [tree.path(span) for span in tree.all("queue")]
    agent = tree.one("invoke_agent traced")
    assert tree.path(agent) == ATTEMPT
    assert agent.program == "worker"
    assert agent.attributes["spool.run.status"] == "success"
    assert agent.attributes["gen_ai.usage.input_tokens"] == 10
    # Messages are only exported if that is configured.
    assert "secret" not in str([span.attributes for span in tree.spans])


def test_models_tools_and_other_servers_are_in_it(
    company: Company, receiver: Receiver
) -> None:
    tree = streamed(company, receiver)

    model = tree.one("chat counted-1")
    assert (tree.path(model), model.kind) == (THINK, CLIENT)
    assert model.attributes["gen_ai.usage.input_tokens"] == 10
    assert model.attributes["gen_ai.usage.output_tokens"] == 5
    assert model.attributes["gen_ai.response.model"] == "counted-1"
    tool = tree.one("execute_tool look_up")
    assert tree.path(tool) == ACT
    assert tool.attributes["gen_ai.tool.call.id"] == "call-1"
    remote = tree.one("invoke_agent echo")
    assert tree.path(remote) == [*ACT, STREAM, "invoke_agent echo"]


def test_a_failed_run_says_where(company: Company, receiver: Receiver) -> None:
    trace_id, headers = new_trace()
    body = {"assistant_id": "failing", "input": INPUT}

    company.http.post("/runs/wait", json=body, headers=headers)

    tree = whole(receiver, trace_id, "POST /runs/wait", "invoke_agent failing")
    assert {span.name: span.error for span in tree.spans if span.error} == {
        "node fail": "ValueError: no tea left",
        "invoke_agent failing": "ValueError: no tea left",
    }


def killed(company: Company, receiver: Receiver, file: Path) -> Tree:
    """The trace of a run whose worker is killed in its second node."""
    company.server.worker().suspend()
    company.hire(2)
    trace_id, headers = new_trace()
    thread = company.http.post("/threads", json={}).json()["thread_id"]
    path = f"/threads/{thread}/runs"
    given = {"file": str(file), "delay": 0}
    let_go = hold(file, "2")
    body = {"assistant_id": "spending", "input": given}
    made = company.http.post(path, json=body, headers=headers).json()
    wait_until(lambda: has_begun(file, "2"))
    run = Run(company.http, thread, made["run_id"])
    # The first node is saved, and its spans are exported; those of the second are not.
    wait_until(lambda: 1 in run.saved_steps())
    receiver.wait_for(trace_id, "node s1")

    company.by_pid(int(begun(file)[-1][1])).kill()
    let_go()

    assert run.ended() == "success"
    company.server.worker().resume()
    receiver.wait_for(trace_id, "node s3")

    def tree() -> Tree:
        return Tree(receiver.of_trace(trace_id))

    # The web process exports the request's span, the parent of both waits in the queue.
    wait_until(lambda: len(tree().all(AGENT)) == 2 and "queue" not in tree().orphans)
    return tree()


AGENT = "invoke_agent spending"


def test_a_killed_and_resumed_run_is_one_trace(
    company: Company, receiver: Receiver, file: Path
) -> None:
    tree = killed(company, receiver, file)

    first, second = sorted(tree.all(AGENT), key=lambda span: span.start)
    assert first.attributes["spool.run.attempt"] == 1
    assert first.error.startswith("WorkerLost")
    assert second.attributes["spool.run.attempt"] == 2
    assert second.error == ""
    parents = {
        span.name: span.parent_id for span in tree.spans if span.name.startswith("node")
    }
    assert parents["node s1"] == first.span_id
    assert parents["node s2"] == parents["node s3"] == second.span_id
    assert len(tree.all("queue")) == 2
    # The node that was killed has no span, but its model has answered.
    assert tree.orphans == ["chat counted-1"]


def test_a_webhook_carries_the_trace_on(company: Company, receiver: Receiver) -> None:
    trace_id, headers = new_trace()
    webhook = f"{receiver.url}/webhook"
    body = {"assistant_id": "echo", "input": INPUT, "webhook": webhook}

    company.http.post("/runs/wait", json=body, headers=headers).raise_for_status()

    tree = whole(receiver, trace_id, "webhook")
    sent = tree.one("webhook")
    [received] = receiver.webhooks
    assert received["traceparent"] == f"00-{trace_id}-{sent.span_id}-01"
    assert tree.path(sent) == ["POST /runs/wait", "webhook"]


async def test_a_call_of_mcp_is_in_the_trace_of_its_client(
    server: Server, receiver: Receiver
) -> None:
    trace_id, headers = new_trace()

    async with Client(f"{server.url}/mcp", mode="2026-07-28") as client:
        meta: Any = headers
        await client.session.call_tool("echo", INPUT, meta=meta)

    tree = whole(receiver, trace_id, "invoke_agent echo", "tools/call echo")
    agent = tree.one("invoke_agent echo")
    assert tree.path(agent) == ["tools/call echo", "invoke_agent echo"]


def test_a_message_of_a2a_is_in_the_trace_of_its_client(
    company: Company, receiver: Receiver
) -> None:
    trace_id, headers = new_trace()
    [found] = company.http.post(
        "/assistants/search", json={"graph_id": "echo", "limit": 1}
    ).json()
    message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage"}

    company.http.post(
        f"/a2a/{found['assistant_id']}",
        json={**call, "params": {"message": message}},
        headers={**headers, "a2a-version": "1.0"},
    ).raise_for_status()

    tree = whole(receiver, trace_id, "invoke_agent echo")
    path = tree.path(tree.one("invoke_agent echo"))
    assert path[0] == "POST /a2a/{assistant_id}"


def test_a_cron_begins_a_trace_of_its_own(company: Company, receiver: Receiver) -> None:
    trace_id, headers = new_trace()
    body = {"assistant_id": "echo", "schedule": "* * * * * *", "input": INPUT}

    made = company.http.post("/runs/crons", json=body, headers=headers).json()
    wait_until(lambda: [s for s in receiver.spans if trace_id in s.links])
    company.http.delete(f"/runs/crons/{made['cron_id']}")

    firing = next(span for span in receiver.spans if trace_id in span.links)
    assert firing.trace_id != trace_id
    tree = whole(receiver, firing.trace_id, "invoke_agent echo")
    path = tree.path(tree.one("invoke_agent echo"))
    assert path == ["cron", "invoke_agent echo"]


def test_log_lines_carry_the_trace(company: Company, receiver: Receiver) -> None:
    trace_id, headers = new_trace()
    body = {"assistant_id": "failing", "input": INPUT}

    company.http.post("/runs/wait", json=body, headers=headers)
    receiver.wait_for(trace_id, "invoke_agent failing")

    log = (company.server.home / "logs" / "worker.log").read_text()
    lines = [line for line in log.splitlines() if f"trace_id={trace_id}" in line]
    assert {"run started" in line for line in lines} == {True, False}
    assert all("span_id=" in line and "run_id=" in line for line in lines)


def test_a_trace_that_its_client_does_not_sample_is_not_exported(
    company: Company, receiver: Receiver
) -> None:
    trace_id, headers = new_trace()
    unsampled = {"traceparent": headers["traceparent"][:-1] + "0"}
    after, sampled = new_trace()
    body = {"assistant_id": "echo", "input": INPUT}

    company.http.post("/runs/wait", json=body, headers=unsampled).raise_for_status()
    company.http.post("/runs/wait", json=body, headers=sampled).raise_for_status()

    receiver.wait_for(after, "POST /runs/wait", "invoke_agent echo")
    assert receiver.of_trace(trace_id) == []


def test_probes_are_not_traced(company: Company, receiver: Receiver) -> None:
    names = {span.name for span in receiver.spans}
    paths = {span.attributes.get("url.path") for span in receiver.spans}

    assert not names & {"GET", "GET /ok", "GET /metrics", "GET /ready"}
    assert not paths & {"/ok", "/metrics", "/ready", "/live"}


# --- Receivers that are unavailable ---------------------------------------------------
def dropped(http: httpx.Client) -> float:
    lines = http.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("spool_spans_dropped_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.mark.long
def test_a_receiver_that_is_away_holds_nothing_up(file: Path) -> None:
    with receiving() as away:
        pass
    with serving(CONFIG, OTEL_EXPORTER_OTLP_ENDPOINT=away.url) as server:
        http = httpx.Client(base_url=server.url, timeout=WAIT_SECS)
        body = {"assistant_id": "spending", "input": {"file": str(file), "delay": 0}}
        for _ in range(5):
            assert http.post("/runs/wait", json=body).status_code == 200
        wait_until(lambda: dropped(http) > 0)
        logs = [
            (server.home / "logs" / f"{n}.log").read_text() for n in ("web", "worker")
        ]
        http.close()

    for log in logs:
        lines = [line for line in log.splitlines() if "of traces" in line]
        assert len(lines) <= 2
        assert "Traceback" not in log
        assert "opentelemetry" not in log


def test_a_receiver_that_hangs_holds_up_neither_runs_nor_the_stop(file: Path) -> None:
    with receiving() as hanging:
        hanging.may_answer.clear()
        given = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": hanging.url,
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2",
        }
        with serving(CONFIG, workers=1, **given) as server:
            http = httpx.Client(base_url=server.url, timeout=WAIT_SECS)
            noted = {"file": str(file), "delay": 0}
            body = {"assistant_id": "spending", "input": noted}
            for _ in range(5):
                assert http.post("/runs/wait", json=body).status_code == 200
            wait_until(lambda: dropped(http) > 0)
            http.close()
        # It has stopped within the timeout of `serving`.
        hanging.may_answer.set()


def test_the_sampler_the_name_and_the_end_are_honoured() -> None:
    with receiving() as receiver:
        with serving(
            CONFIG,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_SERVICE_NAME="agents",
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0",
            # Export nothing before the end.
            OTEL_BSP_SCHEDULE_DELAY="600000",
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true",
        ) as server:
            trace_id, headers = new_trace()
            body = {"assistant_id": "traced", "input": INPUT}
            with httpx.Client(base_url=server.url, timeout=WAIT_SECS) as http:
                http.post("/runs/wait", json=body).raise_for_status()
                http.post("/runs/wait", json=body, headers=headers).raise_for_status()
            assert receiver.spans == []
        spans = receiver.spans
    # The client's decision counts, or else the sampler's.
    assert {span.trace_id for span in spans} == {trace_id}
    assert {span.service for span in spans} == {"agents"}
    assert {span.program for span in spans} == {"web", "worker"}
    # Messages are exported here, since that is configured.
    model = Tree(spans).one("chat counted-1")
    assert "what is secret?" in model.attributes["gen_ai.input.messages"]
    assert '"yes"' in model.attributes["gen_ai.output.messages"]
    tool = Tree(spans).one("execute_tool look_up")
    assert "tea" in tool.attributes["gen_ai.tool.call.arguments"]
