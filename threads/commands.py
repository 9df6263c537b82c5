"""Converts commands from the form that clients send to LangGraph's `Command`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.types import Command, Send


def command_of(command: Mapping[str, Any]) -> Command[Any] | None:
    """Convert `{"update", "resume", "goto"}`, each optional. None if it is empty.

    LangGraph fails on an empty command. Raises `AttributeError`, `KeyError` or
    `TypeError` for an invalid `goto`.
    """
    made: dict[str, Any] = {}
    if (update := command.get("update")) not in (None, {}, []):
        made["update"] = _update(update)
    if command.get("resume") is not None:
        made["resume"] = command["resume"]
    if goto := command.get("goto"):
        several = goto if isinstance(goto, list) else [goto]
        made["goto"] = [_goto(one) for one in several]
    return Command(**made) if made else None


def _update(update: Any) -> Any:
    """Convert a list of pairs: one update of several channels, which may repeat."""
    pairs = isinstance(update, list) and all(
        isinstance(one, list) and len(one) == 2 and isinstance(one[0], str)
        for one in update
    )
    return [tuple(one) for one in update] if pairs else update


def _goto(goto: Any) -> str | Send:
    if isinstance(goto, str):
        return goto
    # The JavaScript library's own `Send` calls it `args`.
    return Send(goto["node"], goto.get("input", goto.get("args")))
