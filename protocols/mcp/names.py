"""The names of the assistants' tools."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from uuid import UUID

MAX_CHARACTERS = 64
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


def tool_names(assistants: Iterable[tuple[UUID, str]]) -> dict[UUID, str]:
    """A unique name for each assistant.

    Names that would be equal end in the first 8 characters of the assistant's id, so
    that no name depends on the order of the assistants.
    """
    names = {pk: tool_name(name) for pk, name in assistants}
    names = _told_apart(names, lambda pk: pk.hex[:8])
    # The resulting name may still be that of another assistant's tool.
    return _told_apart(names, lambda pk: pk.hex)


def tool_name(name: str) -> str:
    """`name` with forbidden characters replaced, cut to the maximum length."""
    made = _NOT_IN_A_NAME.sub("_", name)[:MAX_CHARACTERS]
    return made if made.strip("_") else "assistant"


def _told_apart(
    names: dict[UUID, str], ending: Callable[[UUID], str]
) -> dict[UUID, str]:
    count = Counter(names.values())
    return {
        pk: _with_ending(name, ending(pk)) if count[name] > 1 else name
        for pk, name in names.items()
    }


def _with_ending(name: str, ending: str) -> str:
    return f"{name[: MAX_CHARACTERS - len(ending) - 1]}_{ending}"
