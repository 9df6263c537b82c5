"""Typed hooks: a lower part of Spool calls a higher one through them.

The lower part declares the hook and calls it; `spool/hooks.py` fills it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class HookNotFilled(RuntimeError):
    """A hook was called in a process that did not fill it."""


class Hook(Generic[P, R]):
    """A function that is declared in a lower part and implemented in a higher one."""

    # Whether this process has called `spool.hooks.fill()`.
    are_filled: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._function: Callable[P, R] | None = None

    def fill(self, function: Callable[P, R]) -> None:
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._function is None:
            raise HookNotFilled(
                f"the hook {self.name} is not filled: call spool.hooks.fill() first"
            )
        return self._function(*args, **kwargs)
