"""A2A by JSON-RPC through Django's test client, and runs executed in this process."""

from __future__ import annotations

import json
import uuid
from typing import Any

from spool.access.tests.people import Client, streamed
from spool.protocols.a2a.tasks import TaskRef
from spool.runs.models import Run
from spool.runs.tests.executing import Here

VERSION: dict[str, Any] = {"HTTP_A2A_VERSION": "1.0"}


class Failed(Exception):
    """A method answered with an error instead of a result."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]


class Caller:
    """Calls the methods of one agent, with one person's key."""

    def __init__(self, client: Client, agent: str = "echo") -> None:
        self.client = client
        self.agent = agent

    def answer(self, method: str, **params: Any) -> Any:
        """Call a method; return the whole JSON-RPC response."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        response: Any = self.client.post(
            f"/a2a/{self.agent}",
            data=json.dumps(body),
            content_type="application/json",
            **VERSION,
        )
        return json.loads(streamed(response))

    def call(self, method: str, **params: Any) -> Any:
        """Call a method; return its result. Raises `Failed`."""
        answer = self.answer(method, **params)
        if error := answer.get("error"):
            raise Failed(error)
        return answer.get("result")

    def send(self, *parts: Any, **more: Any) -> dict[str, Any]:
        """Send a message without waiting for its run; return the task."""
        configuration = {"returnImmediately": True, **more.pop("configuration", {})}
        message = message_of(*parts, **more)
        found: dict[str, Any] = self.call(
            "SendMessage", message=message, configuration=configuration
        )["task"]
        return found

    def get(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GetTask", id=task_id)
        return found


def message_of(*parts: Any, **more: Any) -> dict[str, Any]:
    made = [{"text": one} if isinstance(one, str) else {"data": one} for one in parts]
    return {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": made,
        **more,
    }


def execute_all(here: Here) -> None:
    """Execute all pending runs, in order."""
    while run := Run.objects.pending().oldest_first().first():
        here.execute(run)


def newest_run(task_id: str) -> Run:
    thread_id = TaskRef.parse(task_id).thread_id
    return Run.objects.filter(thread=thread_id).newest_first()[0]
