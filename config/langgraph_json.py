"""`langgraph.json`, read once, and the objects that its `path.py:name` values name.

The format is the official CLI's. A key that Spool does not honour is named in a warning,
so that nobody waits for an effect that does not come.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from django.conf import settings
from dotenv import dotenv_values

from spool.config.env import stop
from spool.config.import_path import add_users_folder, keep_users_names_free

logger = logging.getLogger(__name__)

# Editors on Windows put a mark of it before the text.
UTF_8 = "utf-8-sig"
# What the official CLI puts into the environment of a container it builds.
SECTION_VARIABLES = {
    "graphs": "LANGSERVE_GRAPHS",
    "auth": "LANGGRAPH_AUTH",
    "store": "LANGGRAPH_STORE",
    "checkpointer": "LANGGRAPH_CHECKPOINTER",
    "http": "LANGGRAPH_HTTP",
    "webhooks": "LANGGRAPH_WEBHOOKS",
}
HONOURED = {*SECTION_VARIABLES, "dependencies", "env", "$schema"}
HONOURED_IN = {
    "auth": {"path", "cache", "openapi", "disable_studio_auth"},
    "checkpointer": {"ttl"},
    "store": {"index", "ttl"},
    "webhooks": {"env_prefix", "headers", "url"},
    "http": {
        *("app", "cors", "configurable_headers", "enable_custom_route_auth"),
        *("mount_prefix", "disable_assistants", "disable_threads", "disable_runs"),
        *("disable_store", "disable_mcp", "disable_a2a", "disable_meta", "disable_ui"),
        "disable_webhooks",
    },
}
# Only for building images: there is nothing for a server to do.
FOR_IMAGES = {
    "python_version",
    "node_version",
    "api_version",
    "base_image",
    "image_distro",
    "pip_config_file",
    "pip_installer",
    "dockerfile_lines",
    "keep_pkg_tools",
    "source",
}

# A module is known by its name before it has run: who asks meanwhile has to wait. The
# same thread may ask, where the module itself does.
_loading = threading.RLock()


@cache
def langgraph_json() -> dict[str, Any]:
    """The parsed file. A missing or malformed one stops the process with one line."""
    parsed = _read(settings.LANGGRAPH_CONFIG)
    for section, variable in SECTION_VARIABLES.items():
        if text := os.environ.get(variable):
            parsed[section] = _parse(text, variable)
    _check(parsed)
    _apply_environment(parsed.get("env", {}))
    keep_users_names_free()
    for place in import_places(parsed.get("dependencies", [])):
        add_users_folder(place)
    return parsed


def section(name: str) -> dict[str, Any]:
    """One of the file's objects, empty where it has none."""
    found: dict[str, Any] = langgraph_json().get(name) or {}
    return found


def warn_of_ignored_keys() -> None:
    for key in ignored_keys():
        logger.warning(
            "%s: %r is not supported and has no effect", settings.LANGGRAPH_CONFIG, key
        )


def ignored_keys() -> list[str]:
    """Those of the file that have no effect."""
    ignored = langgraph_json().keys() - HONOURED - FOR_IMAGES
    for name, honoured in HONOURED_IN.items():
        ignored |= {f"{name}.{key}" for key in section(name).keys() - honoured}
    return sorted(ignored)


def load_object(reference: str) -> Any:
    """What `path/to/file.py:name` or `package.module:name` names.

    Paths are relative to langgraph.json. Raises `ValueError` for a reference that is
    none, and whatever importing the module raises.
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
        raise ValueError(f"there is no file {path}")
    # Named for its place beside langgraph.json, not for where both are: checkpoints
    # name the classes of what is in them, and have to be read after a move too.
    home = settings.LANGGRAPH_CONFIG.parent.resolve()
    digest = hashlib.sha256(os.path.relpath(path, home).encode()).hexdigest()[:12]
    name = f"{path.stem}_{digest}"
    # A file may be named in several references: it is one module.
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Known by its name before it runs: dataclasses and pickles look it up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding=UTF_8)
    except OSError as exc:
        if os.environ.get(SECTION_VARIABLES["graphs"]):
            return {}
        stop(f"cannot read {path}: {exc.strerror}; set LANGGRAPH_CONFIG or --config")
    except UnicodeDecodeError:
        stop(f"{path} is not UTF-8")
    parsed = _parse(text, str(path))
    if not isinstance(parsed, dict):
        stop(f"{path} must hold a JSON object")
    return parsed


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        stop(f"{where} is not JSON: {exc}")


def _check(parsed: dict[str, Any]) -> None:
    path = settings.LANGGRAPH_CONFIG
    graphs = parsed.get("graphs")
    if not isinstance(graphs, dict) or not graphs:
        stop(f"{path}: graphs must map at least one id to path.py:name")
    for graph_id, given in graphs.items():
        _check_graph(f"{path}: graphs.{graph_id}", given)
    for key, kind in (("dependencies", list), ("env", (dict, str))):
        if key in parsed and not isinstance(parsed[key], kind):
            stop(f"{path}: {key} is of the wrong type")
    _check_env(parsed.get("env", {}))
    if not all(isinstance(name, str) for name in parsed.get("dependencies", [])):
        stop(f"{path}: dependencies must be strings")
    for key in SECTION_VARIABLES:
        if key in parsed and not isinstance(parsed[key], dict):
            stop(f"{path}: {key} must be an object")


def _check_graph(where: str, given: Any) -> None:
    entry = given if isinstance(given, dict) else {"path": given}
    reference = entry.get("path")
    if not isinstance(reference, str) or ":" not in reference:
        stop(f"{where} must be path.py:name, not {given!r}")
    if not isinstance(entry.get("description"), str | None):
        stop(f"{where}.description must be a string")


def _check_env(env: dict[str, Any] | str) -> None:
    """Refuse what no environment has room for, and what is no text."""
    for name, value in env.items() if isinstance(env, dict) else ():
        path = settings.LANGGRAPH_CONFIG
        if not name or "=" in name or "\0" in name:
            stop(f"{path}: env: {name!r} can't be the name of a variable")
        if not isinstance(value, (str, int, float)) or "\0" in str(value):
            stop(f"{path}: env.{name} must be text without NUL, a number or a boolean")


def _apply_environment(env: dict[str, Any] | str) -> None:
    """Set what the environment does not say already: it is nearer to the operator."""
    variables = env if isinstance(env, dict) else _dotenv(env)
    for name, value in variables.items():
        # As JSON has it: a boolean is no `True`.
        text = value if isinstance(value, str) else json.dumps(value)
        os.environ.setdefault(name, text)


def _dotenv(name: str) -> dict[str, str]:
    path = settings.LANGGRAPH_CONFIG.parent / name
    try:
        text = path.read_text(encoding=UTF_8)
    except OSError as exc:
        stop(f"{settings.LANGGRAPH_CONFIG}: env: cannot read {path}: {exc.strerror}")
    except UnicodeDecodeError:
        stop(f"{settings.LANGGRAPH_CONFIG}: env: {path} is not UTF-8")
    variables = dotenv_values(stream=StringIO(text), interpolate=True)
    return {name: value for name, value in variables.items() if value is not None}


def import_places(dependencies: list[str]) -> Iterator[Path]:
    """Where modules can be imported from.

    The directory of langgraph.json always is such a place, as in the official CLI. What
    names no directory there is a package, and the operator's to install.
    """
    home = settings.LANGGRAPH_CONFIG.parent
    yield home
    for dependency in dependencies:
        path = (home / dependency).resolve()
        if path.is_dir():
            yield path
            # A project's packages may lie below `src`: where pip would find them.
            if (path / "pyproject.toml").is_file() and (path / "src").is_dir():
                yield path / "src"
        elif dependency.startswith("."):
            stop(
                f"{settings.LANGGRAPH_CONFIG}: dependencies: there is no directory {path}"
            )
