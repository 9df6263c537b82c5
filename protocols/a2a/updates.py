"""A run's events as the updates of its task.

Each message of the graph is an artifact, and its tokens are sent as pieces of that.
Artifacts that were not streamed are sent whole at the end, before the last state.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from a2a.types.a2a_pb2 import (
    Artifact,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)

from spool.assistants.schemas import EdgeSchemas
from spool.database.json import loads
from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.parts import text_of, text_part
from spool.protocols.a2a.tasks import (
    TaskRef,
    TaskRuns,
    artifact_of,
    closing_message,
    conversation,
    output_artifact,
    shows_messages,
    status_of,
    task_after,
)
from spool.runs.streaming import events
from spool.runs.streaming.events import Event
from spool.runs.streaming.run_stream import RunStream, follow

Update = TaskStatusUpdateEvent | TaskArtifactUpdateEvent

MESSAGES = "messages"


async def updates(
    call: Call, ref: TaskRef, edges: EdgeSchemas, stream: RunStream
) -> AsyncGenerator[Update, None]:
    """Yield the task's updates until the run of `stream` has ended."""
    translator = Translator(ref, streams=shows_messages(edges))
    async with aclosing(follow(stream)) as batches:
        async for batch in batches:
            for event in batch:
                for update in translator.translate(event):
                    yield update
    for update in await call.query(_ending, stream.run_id, edges, translator):
        yield update


async def until_end(stream: RunStream) -> None:
    """Wait until a run has ended."""
    async with aclosing(follow(stream)) as batches:
        async for _ in batches:
            pass


def _ending(
    call: Call, run_id: UUID, edges: EdgeSchemas, translator: Translator
) -> list[Update]:
    return list(translator.ending(task_after(translator.ref, run_id), edges))


@dataclass
class Translator:
    """Translates events, and remembers what was streamed of each artifact.

    `streams`: whether clients may see tokens.
    """

    ref: TaskRef
    streams: bool = True
    _texts: dict[str, list[str]] = field(default_factory=dict)
    _whole: set[str] = field(default_factory=set)

    def translate(self, event: Event) -> Iterator[Update]:
        if event.name == events.METADATA:
            yield from self._attempt()
        elif event.name == MESSAGES and self.streams:
            message, _ = loads(event.data)
            yield from self._piece(message)

    def ending(self, task: TaskRuns, edges: EdgeSchemas) -> Iterator[Update]:
        """The newest run's artifacts that were not streamed, then the task's state."""
        entries = [one for one in conversation(task, edges) if one.run is task.newest]
        for artifact in [one.artifact for one in entries if one.artifact]:
            if not self._is_streamed(artifact):
                yield self._update(artifact, last_chunk=True)
        if output := output_artifact(task, edges):
            yield self._update(output, last_chunk=True)
        status = status_of(task)
        if message := closing_message(task):
            status.message.CopyFrom(message)
        yield TaskStatusUpdateEvent(status=status, **self._ids)

    def _attempt(self) -> Iterator[Update]:
        """Begin a new attempt: empty the artifacts that the lost one did not finish."""
        for artifact_id in set(self._texts) - self._whole:
            del self._texts[artifact_id]
            yield self._update(_artifact(artifact_id, ""), last_chunk=True)
        status = TaskStatus(state=TaskState.TASK_STATE_WORKING)
        status.timestamp.GetCurrentTime()
        yield TaskStatusUpdateEvent(status=status, **self._ids)

    def _piece(self, message: dict[str, Any]) -> Iterator[Update]:
        if message.get("type") == "ai":
            artifact = artifact_of(message)
            if artifact and not self._is_streamed(artifact):
                self._texts[artifact.artifact_id] = [text_of(message["content"])]
                self._whole.add(artifact.artifact_id)
                yield self._update(artifact, last_chunk=True)
        elif message.get("type") == "AIMessageChunk":
            yield from self._token(message)

    def _token(self, chunk: dict[str, Any]) -> Iterator[Update]:
        artifact_id, text = str(chunk.get("id")), text_of(chunk.get("content"))
        is_last = chunk.get("chunk_position") == "last"
        begun = artifact_id in self._texts
        if is_last:
            self._whole.add(artifact_id)
        if text or (is_last and begun):
            self._texts.setdefault(artifact_id, []).append(text)
            artifact = _artifact(artifact_id, text)
            yield self._update(artifact, append=begun, last_chunk=is_last)

    def _is_streamed(self, artifact: Artifact) -> bool:
        """Whether exactly this artifact has been streamed."""
        said = "".join(self._texts.get(artifact.artifact_id, []))
        texts = [part.text for part in artifact.parts]
        return all(texts) and said == "".join(texts)

    def _update(
        self, artifact: Artifact, *, append: bool = False, last_chunk: bool = False
    ) -> TaskArtifactUpdateEvent:
        return TaskArtifactUpdateEvent(
            artifact=artifact, append=append, last_chunk=last_chunk, **self._ids
        )

    @property
    def _ids(self) -> dict[str, Any]:
        return {"task_id": str(self.ref), "context_id": str(self.ref.thread_id)}


def _artifact(artifact_id: str, text: str) -> Artifact:
    return Artifact(artifact_id=artifact_id, name="answer", parts=[text_part(text)])
