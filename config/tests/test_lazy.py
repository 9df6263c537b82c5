from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from spool.config import lazy


@pytest.mark.parametrize("name", lazy.MODULES)
def test_each_module_is_there(name: str) -> None:
    """Modules that hold resources of the event loop can be closed."""
    close = getattr(import_module(name), "close", None)
    assert close is None or inspect.iscoroutinefunction(close)


def test_no_other_module_is_loaded() -> None:
    with pytest.raises(ValueError, match="os is not a module that may be loaded"):
        lazy.load("os", "path")
