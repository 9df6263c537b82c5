"""Plain clients of event streaming, for details that the official clients hide."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any
from uuid import uuid4

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from spool.tests.live import WAIT_SECS

ENDS = ("completed", "failed", "interrupted")

Stop = Callable[[dict[str, Any]], bool]


def ends_run(event: dict[str, Any]) -> bool:
    params = event["params"]
    if event["method"] != "lifecycle" or params["namespace"]:
        return False
    return params["data"]["event"] in ENDS


def after(count: int, stop: Stop = ends_run) -> Stop:
    """A function that is true at the `count`th event for which `stop` is true."""
    left = [None] * count

    def counted(event: dict[str, Any]) -> bool:
        if stop(event):
            left.pop()
        return not left

    return counted


class Thread:
    """One thread over HTTP: commands, and events as server-sent events."""

    def __init__(self, http: httpx.Client, thread_id: str | None = None) -> None:
        self.http = http
        self.id = thread_id or str(uuid4())
        # How long a stream may last, in seconds.
        self.timeout: float = WAIT_SECS

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        body = {"id": 1, "method": method, "params": params}
        response = self.http.post(f"/threads/{self.id}/commands", json=body)
        assert response.status_code == 200, response.text
        answered: dict[str, Any] = response.json()
        return answered

    def start(self, assistant_id: str, given: Any, **params: Any) -> str:
        named = {"assistant_id": assistant_id, "input": given, **params}
        answered = self.command("run.start", **named)
        assert answered["type"] == "success", answered
        run_id: str = answered["result"]["run_id"]
        return run_id

    def events(
        self, channels: Iterable[str], stop: Stop = ends_run, **chosen: Any
    ) -> list[dict[str, Any]]:
        """The events up to, and including, the first one for which `stop` is true."""
        found = []
        for event in self.stream(channels, **chosen):
            found.append(event)
            if stop(event):
                break
        return found

    def stream(
        self, channels: Iterable[str], **chosen: Any
    ) -> Generator[Any, None, None]:
        body = {"channels": list(channels), **chosen}
        path = f"/threads/{self.id}/stream/events"
        deadline = time.monotonic() + self.timeout
        with self.http.stream("POST", path, json=body) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))
                # Heartbeats arrive even if no event does.
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no more events within {self.timeout} s")


class Socket:
    """Like `Thread`, but over a WebSocket, which also sends the commands."""

    def __init__(self, url: str, thread_id: str, **headers: str) -> None:
        base = url.replace("http://", "ws://")
        self._connecting = connect(
            f"{base}/threads/{thread_id}/stream/events", additional_headers=headers
        )
        self.events: list[dict[str, Any]] = []
        self._last_id = 0

    def __enter__(self) -> Socket:
        self.connection = self._connecting.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._connecting.__exit__(*raised)

    def send(self, text: str) -> None:
        self.connection.send(text)

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=WAIT_SECS))
        if message["type"] == "event":
            self.events.append(message)
        return message

    def close_code(self) -> int:
        """The code with which the server closes the connection, after any messages."""
        try:
            while True:
                self.receive()
        except ConnectionClosed as exc:
            return exc.rcvd.code if exc.rcvd else 0

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        self._last_id += 1
        body = {"id": self._last_id, "method": method, "params": params}
        self.send(json.dumps(body))
        while (message := self.receive()).get("id") != self._last_id:
            pass
        return message

    def until(self, stop: Stop = ends_run) -> list[dict[str, Any]]:
        """Wait for an event for which `stop` is true. Return all events so far."""
        seen = 0
        while not any(map(stop, self.events[seen:])):
            seen = len(self.events)
            self.receive()
        return self.events
