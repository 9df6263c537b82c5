"""Checkpoints and writes of a run's graph that wait to be stored together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.base import WRITES_IDX_MAP

from spool.database.json import jsonb

# A value as the checkpointer's serializer writes it: its type and its bytes.
Dumped = tuple[str, bytes]


class Saves:
    """A batch for `spool_write_saves_1`, with at most one row for each key."""

    def __init__(self) -> None:
        self._checkpoints: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._blobs: dict[tuple[Any, ...], tuple[dict[str, Any], bytes]] = {}
        self._writes: dict[tuple[Any, ...], tuple[dict[str, Any], bytes]] = {}
        self._special: dict[tuple[Any, ...], tuple[dict[str, Any], bytes]] = {}
        # The size of the blobs in bytes.
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._checkpoints or self._writes or self._special)

    def add_checkpoint(
        self,
        thread_id: str,
        ns: str,
        parent_id: str | None,
        checkpoint: dict[str, Any],
        metadata: dict[str, Any],
        blobs: dict[str, tuple[str, Dumped]],
    ) -> None:
        """Add a checkpoint. `blobs`: the version and value of channels, by name."""
        key = (thread_id, ns, checkpoint["id"])
        self._checkpoints[key] = {
            "thread_id": thread_id,
            "ns": ns,
            "id": checkpoint["id"],
            "parent_id": parent_id,
            "checkpoint": checkpoint,
            "metadata": metadata,
        }
        for channel, (version, (kind, blob)) in blobs.items():
            row = {
                "thread_id": thread_id,
                "ns": ns,
                "channel": channel,
                "version": version,
                "type": kind,
            }
            self._blobs.setdefault((thread_id, ns, channel, version), (row, blob))
            self.size += len(blob)

    def add_writes(
        self,
        thread_id: str,
        ns: str,
        checkpoint_id: str,
        task: tuple[str, str],
        writes: Sequence[tuple[str, Dumped]],
        *,
        is_special: bool,
    ) -> None:
        """Add the writes of a task. `task` is its id and its path.

        Special writes (interrupts, errors, resumes) replace earlier ones.
        """
        for index, (channel, (kind, blob)) in enumerate(writes):
            idx = WRITES_IDX_MAP.get(channel, index)
            row = {
                "thread_id": thread_id,
                "ns": ns,
                "id": checkpoint_id,
                "task_id": task[0],
                "task_path": task[1],
                "idx": idx,
                "channel": channel,
                "type": kind,
            }
            key = (thread_id, ns, checkpoint_id, task[0], idx)
            if is_special:
                self._writes.pop(key, None)
                self._special[key] = (row, blob)
            elif key not in self._special:
                self._writes.setdefault(key, (row, blob))
            self.size += len(blob)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters `saves` and `blobs` of the SQL functions that store them."""
        if not self:
            return {"saves": None, "blobs": None}
        parts: list[bytes] = []
        rows: dict[str, Any] = {}
        if self._checkpoints:
            rows["checkpoints"] = list(self._checkpoints.values())
        start = 1
        for name, kept in (
            ("blobs", self._blobs),
            ("writes", self._writes),
            ("special_writes", self._special),
        ):
            if kept:
                rows[name] = placed = []
                for row, blob in kept.values():
                    placed.append({**row, "start": start, "size": len(blob)})
                    parts.append(blob)
                    start += len(blob)
        return {"saves": jsonb(rows), "blobs": b"".join(parts)}
