"""Objects in a user's modules, by the references that `langgraph.json` uses."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import threading
from types import ModuleType
from typing import Any

from django.conf import settings

# A module is in `sys.modules` before its code has run, so other threads have to wait.
# Reentrant, since a module may load another one.
_loading = threading.RLock()


def load_object(reference: str) -> Any:
    """The object named by `path/to/file.py:name` or `package.module:name`.

    Paths are relative to langgraph.json. Raises `ValueError` for an invalid
    reference, and what importing the module raises.
    """
    place, separator, name = reference.rpartition(":")
    if not separator or not place or not name:
        raise ValueError(f"{reference!r} is not of the form path.py:name")
    if place.endswith(".py"):
        with _loading:
            module = _load_file(place)
    elif "/" in place or "\\" in place:
        raise ValueError(f"{place} is not a Python file")
    else:
        module = importlib.import_module(place)
    if not hasattr(module, name):
        raise ValueError(f"{place} has no {name!r}")
    return getattr(module, name)


def _load_file(place: str) -> ModuleType:
    path = (settings.LANGGRAPH_CONFIG.parent / place).resolve()
    if not path.is_file():
        raise ValueError(f"the file {path} does not exist")
    # Named after its path relative to langgraph.json: checkpoints store the names of
    # classes, and must be readable after the project's folder has been moved.
    home = settings.LANGGRAPH_CONFIG.parent.resolve()
    digest = hashlib.sha256(os.path.relpath(path, home).encode()).hexdigest()[:12]
    name = f"{path.stem}_{digest}"
    # Several references to one file share one module.
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pickles look the module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
