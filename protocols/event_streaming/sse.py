"""Event streaming over server-sent events: one subscription for each request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from spool.protocols.event_streaming.feed import Feed, Subscription
from spool.protocols.event_streaming.limits import counted
from spool.protocols.event_streaming.snapshots import Standing
from spool.protocols.event_streaming.subscriptions import Filter
from spool.runs.streaming.run_stream import HEARTBEAT


async def sse(
    thread_id: UUID, thread: Standing, chosen: Filter, who: str
) -> AsyncGenerator[bytes, None]:
    """The chosen events of a thread, until the thread is deleted."""
    feed = Feed(thread_id, thread)
    feed.subscribe(Subscription("", chosen))
    with counted(who):
        async with aclosing(feed.envelopes()) as batches:
            async for batch in batches:
                yield b"".join(one.sse() for one in batch) if batch else HEARTBEAT
