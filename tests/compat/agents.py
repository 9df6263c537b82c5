"""The official A2A client for Python, for each binding and version of a card."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types.a2a_pb2 import (
    CancelTaskRequest,
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from google.protobuf.json_format import ParseDict


@dataclass(frozen=True)
class Binding:
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


BINDINGS = [
    Binding("JSONRPC", "1.0"),
    Binding("HTTP+JSON", "1.0"),
    Binding("JSONRPC", "0.3"),
]
ONE_ZERO = BINDINGS[:2]


@dataclass(frozen=True)
class Agent:
    """One assistant, as clients call it: with streams, and without."""

    streaming: Client
    blocking: Client
    http: httpx.AsyncClient

    async def stream(self, *parts: Any, **more: Any) -> Received:
        received = Received()
        async for event in self.streaming.send_message(request(*parts, **more)):
            received.add(event)
        return received

    async def send(self, *parts: Any, **more: Any) -> Task:
        asked = request(*parts, **more)
        [answer] = [one async for one in self.blocking.send_message(asked)]
        return answer.task

    async def get(self, task_id: str, history_length: int | None = None) -> Task:
        return await self.blocking.get_task(
            GetTaskRequest(id=task_id, history_length=history_length)
        )

    async def cancel(self, task_id: str) -> Task:
        return await self.blocking.cancel_task(CancelTaskRequest(id=task_id))

    def subscribe(self, task_id: str) -> AsyncIterator[StreamResponse]:
        return self.streaming.subscribe(SubscribeToTaskRequest(id=task_id))


@dataclass
class Received:
    """The events that a stream has received so far, put together as a client does."""

    task: Task | None = None
    states: list[TaskState] = field(default_factory=list)
    artifacts: dict[str, list[Part]] = field(default_factory=dict)
    last_message: Message | None = None

    def add(self, event: StreamResponse) -> None:
        if event.HasField("task"):
            self.task = event.task
            self.states.append(event.task.status.state)
        elif event.HasField("status_update"):
            self.states.append(event.status_update.status.state)
            self.last_message = event.status_update.status.message
        elif event.HasField("artifact_update"):
            update = event.artifact_update
            known = self.artifacts.setdefault(update.artifact.artifact_id, [])
            if not update.append:
                known.clear()
            known.extend(update.artifact.parts)

    @property
    def id(self) -> str:
        assert self.task
        return self.task.id

    @property
    def texts(self) -> list[str]:
        return ["".join(part.text for part in one) for one in self.artifacts.values()]


@asynccontextmanager
async def opened(
    url: str, graph: str, binding: Binding, **headers: str
) -> AsyncIterator[Agent]:
    async with httpx.AsyncClient(timeout=60, headers=headers) as http:
        card = await A2ACardResolver(
            http, url, f"a2a/{graph}/.well-known/agent-card.json"
        ).get_agent_card()
        kept = [
            one
            for one in card.supported_interfaces
            if one.protocol_binding == binding.name
            and one.protocol_version == binding.version
        ]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(kept)
        bindings = [binding.name]

        def client(*, streaming: bool) -> Client:
            config = ClientConfig(
                httpx_client=http,
                streaming=streaming,
                supported_protocol_bindings=bindings,
            )
            return ClientFactory(config).create(card)

        yield Agent(client(streaming=True), client(streaming=False), http)


def request(
    *parts: Any, configuration: SendMessageConfiguration | None = None, **more: Any
) -> SendMessageRequest:
    """A message with these parts: strings, JSON values, or parts."""
    made = [one if isinstance(one, Part) else part_of(one) for one in parts]
    message = Message(
        message_id=str(uuid.uuid4()), role=Role.ROLE_USER, parts=made, **more
    )
    return SendMessageRequest(message=message, configuration=configuration)


def part_of(value: Any) -> Part:
    if isinstance(value, str):
        return Part(text=value)
    part = Part()
    ParseDict(value, part.data)
    return part


def texts(messages: Any) -> list[str]:
    return ["".join(part.text for part in message.parts) for message in messages]
