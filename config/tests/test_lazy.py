from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from spool.config import lazy


@pytest.mark.parametrize("name", lazy.MODULES)
def test_each_module_is_there_and_can_be_closed(name: str) -> None:
    assert inspect.iscoroutinefunction(import_module(name).close)


def test_no_other_module_is_loaded() -> None:
    with pytest.raises(ValueError, match="os is not one of the modules"):
        lazy.load("os", "path")
