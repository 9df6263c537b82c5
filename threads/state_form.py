"""The forms of a state: the wire's `ThreadState`, and the columns that cache it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot

from spool.threads.models import Thread
from spool.web.errors import Unprocessable


def state_json(snapshot: StateSnapshot, select: Sequence[str] = ()) -> dict[str, Any]:
    """A `ThreadState`. `select` limits it to some fields, or `values.<key>`."""
    checkpoint = _checkpoint(snapshot.config)
    parent = _checkpoint(snapshot.parent_config)
    whole = {
        "values": snapshot.values,
        "next": list(snapshot.next),
        "tasks": [_task(task) for task in snapshot.tasks],
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "interrupts": [one for task in snapshot.tasks for one in task.interrupts],
        "checkpoint_id": checkpoint and checkpoint["checkpoint_id"],
        "parent_checkpoint_id": parent and parent["checkpoint_id"],
    }
    return _selected(whole, select) if select else whole


def _selected(state: dict[str, Any], select: Sequence[str]) -> dict[str, Any]:
    kept = {name: state[name] for name in state if name in select}
    keys = [name.removeprefix("values.") for name in select if name[:7] == "values."]
    unknown = set(select) - set(state) - {f"values.{key}" for key in keys}
    if unknown:
        raise Unprocessable(f"select: unknown fields: {', '.join(sorted(unknown))}")
    if keys and "values" not in kept:
        values = state["values"] if isinstance(state["values"], dict) else {}
        kept["values"] = {key: values[key] for key in keys if key in values}
    if "checkpoint" in kept:
        kept["checkpoint_id"] = state["checkpoint_id"]
    if "parent_checkpoint" in kept:
        kept["parent_checkpoint_id"] = state["parent_checkpoint_id"]
    return kept


def _checkpoint(config: RunnableConfig | None) -> dict[str, Any] | None:
    configurable = (config or {}).get("configurable", {})
    if not configurable.get("thread_id"):
        return None
    names = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
    named = {name: configurable.get(name) for name in names}
    named["checkpoint_ns"] = named["checkpoint_ns"] or ""
    if named["checkpoint_map"] is None:
        del named["checkpoint_map"]
    return named


def _task(task: Any) -> dict[str, Any]:
    nested = task.state if isinstance(task.state, StateSnapshot) else None
    checkpoint = None
    if task.state is not None and nested is None:
        configurable = task.state["configurable"]
        names = ("thread_id", "checkpoint_ns", "checkpoint_id")
        checkpoint = {n: configurable[n] for n in names if n in configurable}
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": _error(task.error),
        "interrupts": list(task.interrupts),
        "checkpoint": checkpoint,
        "state": state_json(nested) if nested else None,
        "result": task.result,
    }


def _error(error: Any) -> str | None:
    # In a checkpoint, an exception is stored as its `repr`.
    return error if error is None or isinstance(error, str) else repr(error)


def cached_columns(snapshot: StateSnapshot) -> dict[str, Any]:
    """The columns of a thread at rest that cache its newest checkpoint."""
    interrupts = {
        task.id: list(task.interrupts) for task in snapshot.tasks if task.interrupts
    }
    return {
        "values": snapshot.values,
        "interrupts": interrupts,
        "interrupt_order": list(interrupts) if len(interrupts) > 1 else None,
        "status": Thread.Status.INTERRUPTED if snapshot.next else Thread.Status.IDLE,
    }
