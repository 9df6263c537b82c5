"""`langgraph.json` as the official CLI reads it: one model, checked once.

Spool warns at start about keys that it does not support. A wrong value stops the
process with one line that names the key.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spool.config.env import stop
from spool.config.import_path import add_users_folder, keep_users_names_free
from spool.config.langgraph_schema import LanggraphJson, Section

logger = logging.getLogger(__name__)

# With an optional byte order mark, which editors on Windows write.
UTF_8 = "utf-8-sig"
# Variables that the official CLI sets in the containers it builds.
SECTION_VARIABLES = {
    "graphs": "LANGSERVE_GRAPHS",
    "auth": "LANGGRAPH_AUTH",
    "store": "LANGGRAPH_STORE",
    "checkpointer": "LANGGRAPH_CHECKPOINTER",
    "http": "LANGGRAPH_HTTP",
    "webhooks": "LANGGRAPH_WEBHOOKS",
}
# Keys that are only used for building images. A server ignores them.
FOR_IMAGES = {
    "$schema",
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


@cache
def langgraph_json() -> LanggraphJson:
    """The file's model. A missing or malformed file stops the process with one line.

    Sets the variables of `env`, and adds the user's modules to the import path.
    """
    given = _read(settings.LANGGRAPH_CONFIG)
    from_environment = {
        section: _parse(text, variable)
        for section, variable in SECTION_VARIABLES.items()
        if (text := os.environ.get(variable))
    }
    _check_encryption(given)
    try:
        parsed = LanggraphJson.model_validate(given | from_environment)
    except ValidationError as exc:
        _stop_at(exc.errors()[0], set(from_environment))
    _apply_environment(parsed.env)
    keep_users_names_free()
    for place in import_places(parsed.dependencies):
        add_users_folder(place)
    return parsed


def _check_encryption(given: dict[str, Any]) -> None:
    """Refuse `encryption`, which is not supported, rather than store plain text."""
    if os.environ.get("LANGGRAPH_ENCRYPTION"):
        stop("LANGGRAPH_ENCRYPTION: encryption is not supported")
    if given.get("encryption"):
        stop(f"{settings.LANGGRAPH_CONFIG}: encryption is not supported")


def _stop_at(error: ErrorDetails, from_environment: set[str]) -> NoReturn:
    """Stop the process with one line that names the key."""
    keys = [str(key) for key in error["loc"] if not isinstance(key, int)]
    problem = _problem(error)
    space = "" if problem.startswith((".", ":")) else " "
    is_ours = keys[:1] and keys[0] in from_environment
    where = "langgraph.json" if is_ours else str(settings.LANGGRAPH_CONFIG)
    stop(f"{where}: {'.'.join(keys)}{space}{problem}")


def _problem(error: ErrorDetails) -> str:
    kind, given = error["type"], error["input"]
    if kind == "literal_error":
        return f"must be {error['ctx']['expected'].replace(chr(39), '')}, not {given!r}"
    return PROBLEMS.get(kind, error["msg"]).format(given=given)


# By the error types of Pydantic.
PROBLEMS = {
    "extra_forbidden": ": unknown option",
    "missing": "is missing",
    "string_type": "must be a string",
    "bool_type": "must be true or false, not {given!r}",
    "int_type": "must be a whole number, not {given!r}",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def warn_of_ignored_keys() -> None:
    env = langgraph_json().env
    if isinstance(env, str) and not (settings.LANGGRAPH_CONFIG.parent / env).exists():
        logger.warning(
            "%s: env: the file %s does not exist", settings.LANGGRAPH_CONFIG, env
        )
    for key in ignored_keys():
        logger.warning(
            "%s: %r is not supported and has no effect", settings.LANGGRAPH_CONFIG, key
        )


def ignored_keys() -> list[str]:
    """The file's keys that have no effect."""
    return sorted(set(_ignored(langgraph_json(), "")) - FOR_IMAGES)


def _ignored(section: Section, prefix: str) -> Iterator[str]:
    yield from (f"{prefix}{key}" for key in section.model_extra or {})
    for name, value in section:
        if isinstance(value, Section):
            yield from _ignored(value, f"{prefix}{name}.")


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


def _apply_environment(env: dict[str, Any] | str) -> None:
    """Set variables, except those that the process's environment already has."""
    variables = env if isinstance(env, dict) else _dotenv(env)
    for name, value in variables.items():
        # As JSON: a boolean is `true`, not `True`.
        text = value if isinstance(value, str) else json.dumps(value)
        os.environ.setdefault(name, text)


def _dotenv(name: str) -> dict[str, str]:
    path = settings.LANGGRAPH_CONFIG.parent / name
    try:
        text = path.read_text(encoding=UTF_8)
    except FileNotFoundError:
        # Common in a fresh clone of a template; see `warn_of_ignored_keys`.
        return {}
    except OSError as exc:
        stop(f"{settings.LANGGRAPH_CONFIG}: env: cannot read {path}: {exc.strerror}")
    except UnicodeDecodeError:
        stop(f"{settings.LANGGRAPH_CONFIG}: env: {path} is not UTF-8")
    variables = dotenv_values(stream=StringIO(text), interpolate=True)
    return {name: value for name, value in variables.items() if value is not None}


def import_places(dependencies: list[str]) -> Iterator[Path]:
    """The folders to import modules from.

    The directory of langgraph.json is always one of them, as in the official CLI. A
    dependency that is not a directory is a package, which the operator installs.
    """
    home = settings.LANGGRAPH_CONFIG.parent
    yield home
    for dependency in dependencies:
        path = (home / dependency).resolve()
        if path.is_dir():
            yield path
            # A project's packages may be below `src`, where pip finds them too.
            if (path / "pyproject.toml").is_file() and (path / "src").is_dir():
                yield path / "src"
        elif dependency.startswith("."):
            stop(
                f"{settings.LANGGRAPH_CONFIG}: dependencies: no such directory: {path}"
            )
