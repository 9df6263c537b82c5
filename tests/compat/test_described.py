"""Responses that need a worker, from a live server, match `/openapi.json`."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis

from spool.tests.live import Server
from spool.web.tests.described import without_more

HI = {"messages": [{"role": "human", "content": "hi"}]}


class Checked:
    """Sends requests, and checks that each response matches `/openapi.json`."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        raw = http.get("/openapi.json").json()
        without_more(raw)
        self.schema = schemathesis.openapi.from_dict(raw)

    def __call__(
        self, method: str, route: str, body: Any = None, **parts: Any
    ) -> httpx.Response:
        ids = {k: v for k, v in parts.items() if f"{{{k}}}" in route}
        query = {k: v for k, v in parts.items() if k not in ids}
        response = self.http.request(
            method, route.format(**ids), json=body, params=query
        )
        operation = self.schema[route][method]
        described = operation.definition.raw["responses"][str(response.status_code)]
        kind = response.headers.get("content-type", "").partition(";")[0]
        assert kind in described.get("content", {}) or not response.content
        if kind.endswith("json"):
            operation.validate_response(response)
        return response


@pytest.fixture
def checked(sync_http: httpx.Client) -> Checked:
    return Checked(sync_http)


@pytest.fixture
def thread_id(checked: Checked) -> str:
    return str(checked("POST", "/threads", {}).json()["thread_id"])


@pytest.mark.parametrize(
    ("graph", "value"),
    [("echo", HI), ("human", {"topic": "t"}), ("raises", {}), ("functional", "text")],
)
def test_what_a_run_answers(
    checked: Checked, thread_id: str, graph: str, value: Any
) -> None:
    body = {"assistant_id": graph, "input": value}
    runs = "/threads/{thread_id}/runs"

    checked("POST", f"{runs}/wait", body, thread_id=thread_id)
    streamed = checked("POST", f"{runs}/stream", body, thread_id=thread_id)

    path = streamed.headers["content-location"]
    ids = {"thread_id": thread_id, "run_id": path.rsplit("/", 1)[1]}
    checked("GET", f"{runs}/{{run_id}}/join", **ids)
    checked("GET", f"{runs}/{{run_id}}/stream", **ids)
    checked("GET", f"{runs}/{{run_id}}", **ids)
    checked("GET", f"{runs}/{{run_id}}/timeline", **ids)
    checked("GET", runs, thread_id=thread_id, select=["run_id", "status"])
    checked("GET", "/threads/{thread_id}", thread_id=thread_id, include="ttl")
    checked("GET", "/threads/{thread_id}/state", thread_id=thread_id, subgraphs=True)
    checked("GET", "/threads/{thread_id}/history", thread_id=thread_id)
    checked("POST", "/threads/{thread_id}/history", {"limit": 5}, thread_id=thread_id)
    checked("GET", "/threads/{thread_id}/storage", thread_id=thread_id)
    checked("POST", "/threads/search", {"metadata": {"graph_id": graph}})
    checked("POST", "/threads/{thread_id}/copy", thread_id=thread_id)
    checked("GET", "/usage", group_by="model,graph,day")
    checked("GET", "/usage", format="csv")
    checked("GET", "/metrics", format="json")


def test_what_a_stopped_run_answers(checked: Checked, thread_id: str) -> None:
    runs = "/threads/{thread_id}/runs"
    body = {"assistant_id": "slow", "input": {}}
    run = checked("POST", runs, body, thread_id=thread_id).json()

    cancelled = checked(
        "POST",
        f"{runs}/{{run_id}}/cancel",
        thread_id=thread_id,
        run_id=run["run_id"],
        wait="1",
    )

    assert cancelled.json() == {}


@pytest.mark.parametrize("graph", ["echo", "nested", "agent", "functional"])
def test_what_graphs_answer(checked: Checked, graph: str) -> None:
    # Tests of other modules create assistants on this server, too.
    body = {"graph_id": graph, "metadata": {"created_by": "system"}}
    (assistant,) = checked("POST", "/assistants/search", body).json()
    ids = {"assistant_id": assistant["assistant_id"]}

    checked("GET", "/assistants/{assistant_id}/graph", **ids, xray="true")
    checked("GET", "/assistants/{assistant_id}/schemas", **ids)
    checked("GET", "/assistants/{assistant_id}/subgraphs", **ids, recurse=True)
    checked("POST", "/assistants/{assistant_id}/versions", {}, **ids)
    checked("GET", "/a2a/{assistant_id}", **ids)


def test_what_an_agent_answers(checked: Checked) -> None:
    message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hi"}]}
    checked.http.headers["A2A-Version"] = "1.0"
    agent = checked("POST", "/assistants/search", {"graph_id": "echo"}).json()[0]
    ids = {"assistant_id": agent["assistant_id"]}

    sent = checked(
        "POST", "/a2a/{assistant_id}/message:send", {"message": message}, **ids
    )
    checked("GET", "/a2a/{assistant_id}/tasks", **ids)
    task = sent.json()["task"]
    checked("GET", "/a2a/{assistant_id}/tasks/{id}", **ids, id=task["id"])
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": task["id"]}}
    checked("POST", "/a2a/{assistant_id}", rpc, **ids)


def test_what_a_command_answers(checked: Checked, thread_id: str) -> None:
    params = {"assistant_id": "echo", "input": HI}
    started = {"id": 1, "method": "run.start", "params": params}

    for command in (started, {"id": 2, "method": "no.such"}, {"id": 3}):
        checked("POST", "/threads/{thread_id}/commands", command, thread_id=thread_id)


def test_what_mcp_answers(server: Server, checked: Checked) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    checked.http.headers["accept"] = "application/json, text/event-stream"

    checked("POST", "/mcp", ping)
