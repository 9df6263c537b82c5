"""The checkpointer: langgraph-checkpoint-postgres over Spool's pools.

The tables and the reads are the library's own. Runs write through `RunSaver`: each write
is one statement with a fence, so that it changes nothing unless the run is still
running in the attempt that saves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from psycopg import AsyncConnection, AsyncCursor, DatabaseError
from psycopg.rows import DictRow

from spool.database.pool import Pool
from spool.database.retries import CONNECTION_FAULTS, NO_ROOM, retry
from spool.threads.saves import Dumped, Saves
from spool.threads.serde import Unserializable, serializer

T = TypeVar("T")
Conn = Pool | AsyncConnection[DictRow]

# The maximum delay until a save is stored, in seconds. A shorter run stores all of its
# saves once, with its end.
LINGER_SECS = 0.1
# A graph with more pending saves than this waits until they are stored.
MAX_BUFFERED_BYTES = 2**20


class LostRun(Exception):
    """The attempt no longer holds its run, so its writes are refused."""


class CheckpointsUnavailable(Exception):
    """Postgres did not become available in time. This is not an error of the graph."""


@dataclass(frozen=True)
class Fence:
    """Lets only one attempt of a run save.

    `holder` is a SELECT with named parameters (`params`). It returns a row as long as
    the attempt holds its run. It also locks the run, so that a deletion of the run
    waits: the deletion then finds all saved rows, and none are saved after it. `save`
    stores `Saves.params` under the same condition, and returns whether it did.
    """

    run_id: UUID
    holder: str
    save: str
    params: dict[str, Any]


def saver(conn: Conn) -> AsyncPostgresSaver:
    """A checkpointer for one read or one edit. Make it on the loop that owns `conn`.

    A saver is cheap, and its lock serializes its statements, so create one for each
    piece of work.
    """
    return AsyncPostgresSaver(conn, serde=serializer())


class EditSaver(AsyncPostgresSaver):
    """The checkpointer of an edit, on the connection of its transaction."""

    def __init__(self, conn: AsyncConnection[DictRow]) -> None:
        super().__init__(conn, serde=serializer())

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        # The library does not copy the thread's id from the config to the metadata.
        named: Any = {**metadata, "thread_id": str(config["configurable"]["thread_id"])}
        return await super().aput(config, checkpoint, named, new_versions)


class RunSaver(AsyncPostgresSaver):
    """The checkpointer of one attempt of one run.

    It collects what the graph saves, and stores it at most `LINGER_SECS` later. What is
    pending at the end of the run is stored with the end (`take`). Interrupts, errors
    and answers are stored at once, and so is everything if `durability` is `sync`.

    Raises `LostRun` if the attempt no longer holds the run, and
    `CheckpointsUnavailable` if Postgres stays unavailable. If storing a delayed save
    failed, all later saves raise its error.

    `new_thread_id` is the run's thread if it has no checkpoint yet: no query is made
    until the graph saves one.
    """

    def __init__(
        self,
        pool: Pool,
        fence: Fence,
        metadata: dict[str, Any],
        *,
        durability: str = "async",
        new_thread_id: UUID | None = None,
    ) -> None:
        super().__init__(pool, serde=serializer())
        self.pool = pool
        self.fence = fence
        self.is_closed = False
        # Only these keys: the library would also copy `configurable`, with its secrets.
        self.metadata = metadata
        self._is_sync = durability == "sync"
        self._new_thread_id = str(new_thread_id) if new_thread_id else None
        self._pending = Saves()
        self._storing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None
        # Called with each checkpoint that the graph loads. It may raise.
        self.check_loaded: Callable[[CheckpointTuple], Awaitable[None]] | None = None

    def close(self) -> None:
        """Refuse further saves of the graph: its run is about to end without it."""
        self.is_closed = True

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        if str(config["configurable"]["thread_id"]) == self._new_thread_id:
            return None
        found = await self._persist(lambda: super(RunSaver, self).aget_tuple(config))
        if found and self.check_loaded:
            await self.check_loaded(found)
        return found

    @asynccontextmanager
    async def _cursor(
        self, *, pipeline: bool = False
    ) -> AsyncIterator[AsyncCursor[DictRow]]:
        # The library reads the tables, so pending saves must be stored first.
        with suppress(DatabaseError, LostRun):  # Raised by the next save.
            await self.flush()
        async with super()._cursor(pipeline=pipeline) as cursor:
            yield cursor

    # --- Saving ---------------------------------------------------------------------
    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        self._check()
        configurable = config["configurable"]
        thread_id, ns = configurable["thread_id"], configurable.get("checkpoint_ns", "")
        inline, values = _split(checkpoint["channel_values"])
        blobs = {
            channel: (str(version), self._dumped(channel, values[channel]))
            for channel, version in new_versions.items()
            if channel in values
        }
        self._pending.add_checkpoint(
            str(thread_id),
            ns,
            configurable.get("checkpoint_id"),
            {**checkpoint, "channel_values": inline},
            {**self.metadata, **metadata},
            blobs,
        )
        await self._added(at_once=self._is_sync)
        saved = {
            "thread_id": thread_id,
            "checkpoint_ns": ns,
            "checkpoint_id": checkpoint["id"],
        }
        return {"configurable": saved}

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self._check()
        configurable = config["configurable"]
        is_special = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        self._pending.add_writes(
            str(configurable["thread_id"]),
            configurable.get("checkpoint_ns", ""),
            configurable["checkpoint_id"],
            (task_id, task_path),
            [(channel, self._dumped(channel, value)) for channel, value in writes],
            is_special=is_special,
        )
        await self._added(at_once=is_special or self._is_sync)

    def _dumped(self, channel: str, value: Any) -> Dumped:
        try:
            return self.serde.dumps_typed(value)
        except Unserializable as exc:
            raise Unserializable(f"Channel {channel!r} can't be stored: {exc}") from exc

    def _check(self) -> None:
        if self.is_closed:
            raise LostRun(str(self.fence.run_id))
        if self._failure:
            raise self._failure
        self._new_thread_id = None

    async def _added(self, *, at_once: bool) -> None:
        if at_once or self._pending.size > MAX_BUFFERED_BYTES:
            await self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LINGER_SECS, self._begin_to_store)

    # --- Storing --------------------------------------------------------------------
    async def flush(self) -> None:
        """Store all pending saves. Raises what a save raises."""
        while self._pending or self._storing:
            self._begin_to_store()
            # `wait` does not cancel the task with the graph: it would then be unknown
            # what was stored.
            await asyncio.wait([cast("asyncio.Task[None]", self._storing)])
        if self._failure:
            raise self._failure

    async def take(self) -> Saves:
        """Take the pending saves: the caller stores them with the end of the run."""
        self._stop_timer()
        if self._storing:
            await asyncio.wait([self._storing])
        if self._failure:
            raise self._failure
        taken, self._pending = self._pending, Saves()
        return taken

    async def discard(self) -> None:
        """Refuse further saves, and discard the pending ones."""
        self.close()
        self._pending = Saves()
        self._stop_timer()
        if self._storing:
            await asyncio.wait([self._storing])

    async def store(self, saves: Saves) -> None:
        params = saves.params | self.fence.params
        if not await self._persist(lambda: self._execute(params)):
            raise LostRun(str(self.fence.run_id))

    def _begin_to_store(self) -> None:
        self._stop_timer()
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_pending())

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def _store_pending(self) -> None:
        try:
            while self._pending:
                saves, self._pending = self._pending, Saves()
                await self.store(saves)
        except Exception as exc:
            self._failure, self._pending = exc, Saves()
        finally:
            self._storing = None

    async def _execute(self, params: dict[str, Any]) -> bool:
        row = await self.pool.fetch_one(self.fence.save, params)
        return bool(row and row["is_saved"])

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            return await retry(self.pool, attempt)
        except NO_ROOM:
            raise
        except CONNECTION_FAULTS as exc:
            raise CheckpointsUnavailable(str(exc)) from exc


def _split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split channel values: primitive ones stay in the JSON, others become blobs."""
    inline: dict[str, Any] = {}
    blobs: dict[str, Any] = {}
    for channel, value in values.items():
        if isinstance(value, _DeltaSnapshot):
            inline[channel], blobs[channel] = True, value
        elif value is None or isinstance(value, (str, int)) or _is_plain(value):
            inline[channel] = value
        else:
            blobs[channel] = value
    return inline, blobs


def _is_plain(value: Any) -> bool:
    """Whether `jsonb` keeps this value unchanged: 1e30 would become an integer."""
    return isinstance(value, float) and isfinite(value) and "e" not in repr(value)


NEWEST_RUN = """
SELECT metadata ->> 'run_id' AS run_id FROM checkpoints
WHERE thread_id = %s AND checkpoint_ns = ''
ORDER BY checkpoint_id DESC LIMIT 1
"""


async def has_checkpoint_of(pool: Pool, thread_id: UUID, run_id: UUID) -> bool:
    """Whether the thread's newest state was saved by this run."""
    async with pool.connection() as conn:
        cursor = await conn.execute(NEWEST_RUN, [str(thread_id)])
        row = await cursor.fetchone()
    return row is not None and row["run_id"] == str(run_id)


async def undo_held_run(pool: Pool, thread_id: UUID, fence: Fence) -> None:
    """Undo what a run saved: its checkpoints, and its answers to interrupts.

    Raises `LostRun` as a save does, since the next run may already have continued from
    these checkpoints.
    """
    params = {"thread_id": str(thread_id), "run_id": str(fence.run_id)}
    async with pool.connection() as conn, conn.transaction():
        held = await conn.execute(fence.holder, fence.params)
        if await held.fetchone() is None:
            raise LostRun(str(fence.run_id))
        for statement in UNDO:
            await conn.execute(statement, params)


# Answers to an interrupt, and the results of the resumed tasks, are writes on
# checkpoints from before the run: those of the thread, and of the subgraphs that were
# interrupted. These writes are deleted first, while those checkpoints can be found.
UNDO = (
    """WITH newest AS (
        SELECT DISTINCT ON (checkpoint_ns) checkpoint_ns, checkpoint_id
        FROM checkpoints
        WHERE thread_id = %(thread_id)s
            AND metadata ->> 'run_id' IS DISTINCT FROM %(run_id)s
        ORDER BY checkpoint_ns, checkpoint_id DESC
    ), writes AS (
        SELECT w.* FROM checkpoint_writes w JOIN newest
            ON w.checkpoint_ns = newest.checkpoint_ns
            AND w.checkpoint_id = newest.checkpoint_id
        WHERE w.thread_id = %(thread_id)s
    ), interrupted AS (
        SELECT checkpoint_ns, task_id FROM writes WHERE channel = '__interrupt__'
    )
    DELETE FROM checkpoint_writes w USING writes
    WHERE w.thread_id = writes.thread_id AND w.checkpoint_ns = writes.checkpoint_ns
        AND w.checkpoint_id = writes.checkpoint_id AND w.task_id = writes.task_id
        AND w.idx = writes.idx AND w.channel <> '__interrupt__'
        AND (w.channel = '__resume__' OR w.task_id IN (SELECT task_id FROM interrupted))
        AND (w.checkpoint_ns = '' OR substring(w.checkpoint_ns from '^[^:]*:([^|]*)')
            IN (SELECT task_id FROM interrupted WHERE checkpoint_ns = ''))""",
    """DELETE FROM checkpoint_writes w USING checkpoints c
    WHERE c.thread_id = %(thread_id)s AND c.metadata ->> 'run_id' = %(run_id)s
        AND w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns
        AND w.checkpoint_id = c.checkpoint_id""",
    """WITH gone AS (
        DELETE FROM checkpoints
        WHERE thread_id = %(thread_id)s AND metadata ->> 'run_id' = %(run_id)s
        RETURNING checkpoint_ns, checkpoint
    ), unused AS (
        SELECT checkpoint_ns, key, value
        FROM gone, jsonb_each_text(checkpoint -> 'channel_versions')
        EXCEPT
        SELECT checkpoint_ns, key, value
        FROM checkpoints, jsonb_each_text(checkpoint -> 'channel_versions')
        WHERE thread_id = %(thread_id)s
            AND metadata ->> 'run_id' IS DISTINCT FROM %(run_id)s
    )
    DELETE FROM checkpoint_blobs b USING unused
    WHERE b.thread_id = %(thread_id)s AND b.checkpoint_ns = unused.checkpoint_ns
        AND b.channel = unused.key AND b.version = unused.value""",
)
