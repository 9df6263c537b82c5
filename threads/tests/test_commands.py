from __future__ import annotations

from typing import Any

import pytest

from spool.threads.commands import command_of


@pytest.mark.parametrize("update", [{"a": 1}, [["a", 1]], 0, "", False])
def test_whatever_says_something_is_an_update(update: Any) -> None:
    command = command_of({"update": update})

    assert command is not None
    assert command.update == ([("a", 1)] if isinstance(update, list) else update)


@pytest.mark.parametrize(
    "given", [{}, {"update": {}, "goto": []}, {"resume": None, "update": None}]
)
def test_a_command_that_says_nothing_is_none(given: dict[str, Any]) -> None:
    assert command_of(given) is None
