"""The graphs that a run has called, and their status."""

from __future__ import annotations

from typing import Any

from spool.database.json import loads
from spool.protocols.event_streaming.envelopes import namespace_of
from spool.runs.models import Run
from spool.runs.streaming.events import NORMALISED, kept_events, lifecycle_of
from spool.threads.models import Thread


def tree_of(run: Run) -> dict[str, Any]:
    """The run's graph with its subgraphs, as far as its events are still kept."""
    root: dict[str, Any] = {
        "namespace": [],
        "status": _status(run),
        "graph_name": run.graph_id,
    }
    nodes: dict[tuple[str, ...], dict[str, Any]] = {(): root}
    for event in kept_events(run.thread_id):
        if event.run_id != str(run.id) or not event.name.startswith(
            f"{NORMALISED}lifecycle|"
        ):
            continue
        namespace, payload = namespace_of(event), loads(event.data)
        if known := nodes.get(namespace):
            known["status"] = payload["event"]
            continue
        nodes[namespace] = {
            "namespace": list(namespace),
            "status": payload["event"],
            "graph_name": payload.get("graph_name", namespace[-1].partition(":")[0]),
        }
        _parent(nodes, namespace).setdefault("children", []).append(nodes[namespace])
    return root


def _parent(
    nodes: dict[tuple[str, ...], dict[str, Any]], namespace: tuple[str, ...]
) -> dict[str, Any]:
    """The nearest known ancestor in the tree; the root if there is none."""
    for length in range(len(namespace) - 1, 0, -1):
        if above := nodes.get(namespace[:length]):
            return above
    return nodes[()]


def _status(run: Run) -> str:
    if run.status == Run.Status.PENDING:
        return "started"
    if run.status == Run.Status.RUNNING:
        return "running"
    is_paused = run.thread.resting_status == Thread.Status.INTERRUPTED
    return str(lifecycle_of(run.status, run.error, is_paused=is_paused)["event"])
