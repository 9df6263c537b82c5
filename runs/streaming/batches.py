"""A batch of a run's events, as the scripts write it to its thread's stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings

from spool.runs.streaming import scripts
from spool.runs.streaming.events import channel, older_channel


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that are written in one step, with their ids once they are written."""

    index: int
    count: int
    data: bytes
    # The number of events that were dropped before this batch.
    dropped: int = 0
    ending: int = scripts.GOES_ON
    first: str = ""
    previous: str = ""
    last_seq: int = 0

    @property
    def last(self) -> str:
        ms, _, seq = self.first.partition("-")
        return f"{ms}-{int(seq) + self.count - 1}"


def append_arguments(
    thread_id: UUID,
    run_id: UUID,
    batch: Batch,
    attempt: int,
    last_id: str,
    generation: int,
    used_seq: int = 0,
    graph_id: str = "",
    *,
    has_begun: bool = False,
    reply_channel: str = "",
) -> list[Any]:
    """The arguments of `scripts.APPEND`."""
    return [
        channel(thread_id),
        batch.data,
        batch.count,
        str(run_id),
        attempt,
        batch.index,
        last_id,
        batch.dropped,
        generation,
        settings.STREAM_MAX_EVENTS,
        settings.STREAM_MAX_BYTES,
        life_ms(batch.ending),
        batch.ending,
        settings.RESUMABLE_STREAM_TTL_SECONDS * 1000,
        used_seq,
        graph_id.replace("\n", " "),
        older_channel(thread_id),
        int(has_begun),
        reply_channel,
    ]


def life_ms(ending: int) -> int:
    life: float = settings.RESUMABLE_STREAM_TTL_SECONDS
    if not ending:
        life += max(settings.BG_JOB_TIMEOUT_SECS, 3600)
    return int(life * 1000)
