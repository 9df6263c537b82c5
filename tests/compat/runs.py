"""Runs that are created over plain HTTP, with a thread or stateless."""

from __future__ import annotations

from typing import Any

import httpx

from spool.tests.compat.wire import Event, parse, without_end

HI = {"messages": [{"role": "user", "content": "hi"}]}


class Runs:
    """Creates runs on one thread, or stateless ones."""

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


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]
