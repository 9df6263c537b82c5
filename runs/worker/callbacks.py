"""Reads the arguments of LangChain's callbacks, for the record and for traces."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.outputs import LLMResult
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.constants import TAG_HIDDEN
from langgraph.errors import GraphBubbleUp, GraphInterrupt, ParentCommand

from spool.runs.models import RunStep

# The maximum length of names that are kept.
MAX_NAME = 200


def node_of(
    metadata: dict[str, Any] | None, tags: list[str] | None, name: str | None
) -> tuple[str, str] | None:
    """The name and the checkpoint namespace of a node; None if the chain is no node.

    The runnables inside a node have the same name and namespace.
    """
    node = (metadata or {}).get("langgraph_node")
    if node is None or name != node or TAG_HIDDEN in (tags or ()):
        return None
    path = (metadata or {}).get("langgraph_checkpoint_ns", "")
    return str(node)[:MAX_NAME], str(path)


def place_of(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """The metadata that names the node, even if the node passed on its own config."""
    given = metadata or {}
    if "langgraph_node" in given:
        return given
    around = (var_child_runnable_config.get() or {}).get("metadata") or {}
    return {**around, **given}


def first_message(response: LLMResult) -> Any:
    """The first message only: each of several answers has the usage of all of them."""
    try:
        return getattr(response.generations[0][0], "message", None)
    except IndexError:
        return None


def outcome_of(error: BaseException) -> str:
    """The outcome of a step or a tool that raised this exception."""
    if isinstance(error, GraphInterrupt):
        return RunStep.Outcome.INTERRUPTED
    if isinstance(error, (ParentCommand, GraphBubbleUp)):
        return RunStep.Outcome.SUCCESS
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return RunStep.Outcome.CANCELLED
    return RunStep.Outcome.ERROR
