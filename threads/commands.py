"""Commands as clients write them: what a graph is told beside, or instead of, an input."""

from __future__ import annotations

from typing import Any

from langgraph.types import Command, Send


def command_of(given: dict[str, Any]) -> Command[Any] | None:
    """`{"update", "resume", "goto"}`, each of them optional. None: it says nothing.

    Over a command that says nothing LangGraph stumbles. Raises `AttributeError`,
    `KeyError` or `TypeError` for a `goto` that is none.
    """
    made: dict[str, Any] = {}
    if (update := given.get("update")) not in (None, {}, []):
        made["update"] = _update(update)
    if given.get("resume") is not None:
        made["resume"] = given["resume"]
    if goto := given.get("goto"):
        several = goto if isinstance(goto, list) else [goto]
        made["goto"] = [_goto(one) for one in several]
    return Command(**made) if made else None


def _update(update: Any) -> Any:
    """A list of pairs is one update of several channels, some perhaps repeated."""
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
