"""The checkpointer: langgraph-checkpoint-postgres over Spool's pools.

The tables and the reads are the library's own. Runs write through `RunSaver`: each save
is one statement with a fence, so that it changes nothing unless the run is still
running in the attempt that saves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar
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
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from spool.database.json import jsonb
from spool.database.loop import Pool
from spool.database.retries import CONNECTION_FAULTS, NO_ROOM, retry
from spool.threads.serde import Unserializable, serializer

T = TypeVar("T")
Conn = Pool | AsyncConnection[DictRow]

# Each begins with the statement of a fence in place of `{holder}`.
_SAVE_CHECKPOINT = """
WITH run AS ({holder}), blobs AS (
    INSERT INTO checkpoint_blobs
        (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(thread_id)s, %(ns)s, b.channel, b.version, b.type, b.blob
    FROM run, unnest(
        %(channels)s::text[], %(versions)s::text[], %(types)s::text[],
        %(blobs)b::bytea[]
    ) AS b (channel, version, type, blob)
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
)
INSERT INTO checkpoints
    (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
SELECT %(thread_id)s, %(ns)s, %(id)s, %(parent_id)s, %(checkpoint)s, %(metadata)s
FROM run
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata
"""

_SAVE_WRITES = """
WITH run AS ({holder})
INSERT INTO checkpoint_writes (
    thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,
    blob
)
SELECT %(thread_id)s, %(ns)s, %(id)s, %(task_id)s, %(task_path)s,
    w.idx, w.channel, w.type, w.blob
FROM run, unnest(
    %(indexes)s::int[], %(channels)s::text[], %(types)s::text[], %(blobs)b::bytea[]
) AS w (idx, channel, type, blob)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO
"""
# Special channels (errors, interrupts, resumes) are overwritten; results are not.
_KEEP_WRITES = _SAVE_WRITES + "NOTHING"
_REPLACE_WRITES = (
    _SAVE_WRITES
    + """UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type,
    blob = EXCLUDED.blob"""
)


class LostRun(Exception):
    """The attempt does not hold its run any more, so its writes are refused."""


class CheckpointsUnavailable(Exception):
    """Postgres did not come back in time. This is no error of the graph."""


@dataclass(frozen=True)
class Fence:
    """Lets only one attempt of a run save.

    `holder` is a SELECT with named parameters (`params`). It returns a row as long as
    the attempt holds its run, and locks it, so that a deletion of the run waits: the
    deletion then finds all saved rows, and none is saved after it.
    """

    run_id: UUID
    holder: str
    params: dict[str, Any]


def saver(conn: Conn) -> AsyncPostgresSaver:
    """A checkpointer for one read or one edit. Make it on the loop that owns `conn`.

    Savers are cheap and serialize their statements with a lock of their own, so each
    piece of work gets one.
    """
    return AsyncPostgresSaver(conn, serde=serializer())


class RunSaver(AsyncPostgresSaver):
    """The checkpointer of one attempt of one run.

    Raises `LostRun` where the attempt no longer holds the run, and
    `CheckpointsUnavailable` where Postgres stays away.
    """

    def __init__(self, pool: Pool, fence: Fence, metadata: dict[str, Any]) -> None:
        super().__init__(pool, serde=serializer())
        self.pool = pool
        self.fence = fence
        self.is_closed = False
        # Only these keys: the library would also copy `configurable`, with its secrets.
        self.metadata = metadata

    def close(self) -> None:
        """Refuse further saves of the graph: its run is about to end without it."""
        self.is_closed = True

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._persist(lambda: super(RunSaver, self).aget_tuple(config))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        configurable = config["configurable"]
        thread_id, ns = configurable["thread_id"], configurable.get("checkpoint_ns", "")
        inline, values = _split(checkpoint["channel_values"])
        versions = {k: v for k, v in new_versions.items() if k in values}
        dumped = [self._dumped(channel, values[channel]) for channel in versions]
        params = {
            "thread_id": str(thread_id),
            "ns": ns,
            "id": checkpoint["id"],
            "parent_id": configurable.get("checkpoint_id"),
            "checkpoint": jsonb({**checkpoint, "channel_values": inline}),
            "metadata": jsonb({**self.metadata, **metadata}),
            "channels": list(versions),
            "versions": [str(version) for version in versions.values()],
            "types": [kind for kind, _ in dumped],
            "blobs": [blob for _, blob in dumped],
        }
        await self._save(_SAVE_CHECKPOINT, params)
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
        configurable = config["configurable"]
        special = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        dumped = [self._dumped(channel, value) for channel, value in writes]
        params = {
            "thread_id": str(configurable["thread_id"]),
            "ns": configurable.get("checkpoint_ns", ""),
            "id": configurable["checkpoint_id"],
            "task_id": task_id,
            "task_path": task_path,
            "indexes": [
                WRITES_IDX_MAP.get(channel, index)
                for index, (channel, _) in enumerate(writes)
            ],
            "channels": [channel for channel, _ in writes],
            "types": [kind for kind, _ in dumped],
            "blobs": [blob for _, blob in dumped],
        }
        await self._save(_REPLACE_WRITES if special else _KEEP_WRITES, params)

    def _dumped(self, channel: str, value: Any) -> tuple[str, bytes]:
        try:
            return self.serde.dumps_typed(value)
        except Unserializable as exc:
            raise Unserializable(f"Channel {channel!r} can't be stored: {exc}") from exc

    async def _save(self, statement: str, params: dict[str, Any]) -> None:
        if self.is_closed:
            raise LostRun(str(self.fence.run_id))
        params |= self.fence.params
        fenced = statement.format(holder=self.fence.holder)
        saved = await self._persist(lambda: self._execute(fenced, params))
        # No rows written: either they existed already, or the run is lost.
        if not saved and not await self._persist(
            lambda: self._execute(self.fence.holder, self.fence.params)
        ):
            raise LostRun(str(self.fence.run_id))

    async def _execute(self, statement: str, params: dict[str, Any]) -> int:
        async with self.pool.connection() as conn:
            return (await conn.execute(statement, params)).rowcount

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
    """Whether `jsonb` keeps this number as it is: 1e30 would become an integer."""
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


async def undo_run(pool: Pool, thread_id: UUID, fence: Fence) -> None:
    """Undo what a run saved: its checkpoints, and its answers to interrupts.

    Raises `LostRun` like a save: the next run may have continued from there by then.
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
    ), asked AS (
        SELECT checkpoint_ns, task_id FROM writes WHERE channel = '__interrupt__'
    )
    DELETE FROM checkpoint_writes w USING writes
    WHERE w.thread_id = writes.thread_id AND w.checkpoint_ns = writes.checkpoint_ns
        AND w.checkpoint_id = writes.checkpoint_id AND w.task_id = writes.task_id
        AND w.idx = writes.idx AND w.channel <> '__interrupt__'
        AND (w.channel = '__resume__' OR w.task_id IN (SELECT task_id FROM asked))
        AND (w.checkpoint_ns = '' OR substring(w.checkpoint_ns from '^[^:]*:([^|]*)')
            IN (SELECT task_id FROM asked WHERE checkpoint_ns = ''))""",
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
