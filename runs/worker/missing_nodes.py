"""Refuses to resume a thread whose next node no longer exists.

LangGraph would ignore the node, and the run would succeed without doing anything. The
check uses the checkpoints that the graph loads anyway. Nothing is saved before the
check, so the thread can be resumed after a revision with the node is deployed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langgraph.checkpoint.base import Checkpoint, CheckpointTuple
from langgraph.pregel import Pregel
from langgraph.types import Command, Send

from spool.database.pool import Pool
from spool.runs.lifecycle import Claim

# Names of LangGraph: the channel that triggers a node, and the one of pending `Send`s.
TRIGGER = "branch:to:"
SENDS = "__pregel_tasks"

# The revision that executed an attempt. The row is written when the attempt ends.
REVISION_OF = """
SELECT revision FROM run_attempts WHERE run_id = %(run_id)s AND attempt = %(attempt)s
UNION ALL
SELECT revision FROM runs WHERE id = %(run_id)s AND attempt = %(attempt)s
LIMIT 1
"""


class NodeNotFound(Exception):
    """The next node of the thread is not in this revision of its graph."""


def continues(given: Any) -> bool:
    """Whether a run with this input continues with the next nodes of its thread."""
    if isinstance(given, Command):
        return not given.goto  # `goto` chooses other nodes.
    return given is None


class NodeCheck:
    """Checks each checkpoint that a graph loads, and those of its subgraphs."""

    def __init__(
        self, graph: Pregel[Any, Any, Any, Any], held: Claim, pool: Pool
    ) -> None:
        self._graph = graph
        self._held = held
        self._pool = pool

    async def __call__(self, loaded: CheckpointTuple) -> None:
        graph = self._graph_of(loaded.config["configurable"].get("checkpoint_ns", ""))
        if graph is None:
            return
        for node in _next_nodes(loaded.checkpoint):
            if node not in graph.nodes:
                raise NodeNotFound(await self._reason(node, loaded))

    def _graph_of(self, namespace: str) -> Pregel[Any, Any, Any, Any] | None:
        """The graph of a namespace; None for a graph that a node's code calls."""
        names = [part.partition(":")[0] for part in namespace.split("|") if part]
        path = "|".join(name for name in names if not name.isdigit())
        if not path:
            return self._graph
        found = dict(self._graph.get_subgraphs(recurse=True)).get(path)
        return found if isinstance(found, Pregel) else None

    async def _reason(self, node: str, loaded: CheckpointTuple) -> str:
        held = self._held
        earlier = await self._revision_of(loaded)
        return (
            f"Node {node!r} is next on this thread, but revision {held.revision!r} of "
            f"graph {held.graph_id!r} does not have it. The thread was saved by revision "
            f"{earlier!r}, and can be resumed by one that has the node."
        )

    async def _revision_of(self, loaded: CheckpointTuple) -> str:
        metadata: dict[str, Any] = dict(loaded.metadata)
        params = {
            "run_id": metadata.get("run_id"),
            "attempt": metadata.get("run_attempt"),
        }
        async with self._pool.connection() as conn:
            row = await (await conn.execute(REVISION_OF, params)).fetchone()
        return str(row["revision"]) if row else "unknown"


def _next_nodes(checkpoint: Checkpoint) -> Iterator[str]:
    """The nodes that the checkpoint triggers, even if the graph has no such nodes."""
    values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
    for channel in values:
        if channel.startswith(TRIGGER):
            node = channel.removeprefix(TRIGGER)
            seen = checkpoint["versions_seen"].get(node, {}).get(channel)
            if seen is None or versions[channel] > seen:  # type: ignore[operator]
                yield node
    for send in values.get(SENDS) or ():
        if isinstance(send, Send):
            yield send.node
