"""Requests for threads, as they are passed from the serializers to the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from spool.threads.ttl import TTL


@dataclass(frozen=True, slots=True)
class CheckpointRef:
    """A checkpoint of a thread: the newest one, unless `id` names another.

    `namespace` is that of a subgraph, and `map` the ids of the checkpoints above it.
    """

    id: str | None = None
    namespace: str | None = None
    map: Mapping[str, Any] | None = None

    @property
    def is_newest(self) -> bool:
        return not (self.id or self.namespace or self.map)


NEWEST = CheckpointRef()


@dataclass(frozen=True, slots=True)
class ThreadQuery:
    """A search: filters, order and page. Empty filters match all threads."""

    metadata: Mapping[str, Any] | None
    values: Mapping[str, Any] | None
    status: str | None
    ids: Sequence[UUID]
    # The name of a column.
    sort_by: str
    descending: bool
    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class NewThread:
    id: UUID
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ttl: TTL | None = None
    # What happens if there is a thread with this id: `raise` or `do_nothing`.
    if_exists: str = "raise"


@dataclass(frozen=True, slots=True)
class ThreadChanges:
    """Metadata is merged at its top level. If `ttl` is None, it does not change."""

    metadata: Mapping[str, Any]
    ttl: TTL | None = None
