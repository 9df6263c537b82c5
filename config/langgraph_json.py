"""`langgraph.json` as the official CLI reads it: one model, checked once.

Spool warns at start about keys that it does not support. A wrong value stops the
process with one line that names the key.
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
from typing import Annotated, Any, Literal, NoReturn

from django.conf import settings
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from spool.config.env import stop
from spool.config.import_path import add_users_folder, keep_users_names_free

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
# Only used for building images; a server ignores them.
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
# A century: much longer ones exceed Postgres's range of dates.
MAX_MINUTES = 100 * 365 * 24 * 60


# --- Values ---------------------------------------------------------------------------
def _wrong(problem: str) -> PydanticCustomError:
    """An error of a value, or of an entry of it if `problem` begins with a dot."""
    return PydanticCustomError("spool", problem)


def _strings(given: Any) -> Any:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise _wrong("must be a list of strings")
    return given


def _positive(given: Any) -> Any:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not 0 < given <= MAX_MINUTES:
        raise _wrong(f"must be a positive number, not {given!r}")
    return given


def _minutes(given: Any) -> Any:
    try:
        return _positive(given)
    except PydanticCustomError:
        raise _wrong(f"must be a positive number of minutes, not {given!r}") from None


def _not_negative(given: Any) -> Any:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or given < 0:
        raise _wrong(f"must be a number, not {given!r}")
    return given


def _none_if_empty(given: Any) -> Any:
    return given or None


def _modules(given: Any) -> Any:
    if given is True:
        return given
    if not isinstance(given, list) or not all(_strings(path) for path in given):
        raise _wrong("must be true, or a list of paths as [module, …, class]")
    return given


Modules = Annotated[list[list[str]] | bool | None, BeforeValidator(_modules)]
Strings = Annotated[list[str], BeforeValidator(_strings)]
Positive = Annotated[float, BeforeValidator(_positive)]
Minutes = Annotated[float, BeforeValidator(_minutes)]
NotNegative = Annotated[float, BeforeValidator(_not_negative)]


class Section(BaseModel):
    """An object of the file. A null key means the same as a missing one."""

    # Other keys are kept, so that a warning can name them.
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None}


# --- Sections -------------------------------------------------------------------------
class GraphEntry(Section):
    path: str = Field(description="`path.py:name` or `package.module:name`")
    description: str | None = Field(None, description="shown by its assistant")


class StoreIndex(Section):
    dims: int = Field(description="dimensions of the vectors")
    embed: str = Field(description="`provider:model` or `path.py:function`")
    # Pydantic itself uses the name `fields`.
    paths: Strings = Field([], alias="fields", description="paths that are embedded")


class StoreTTL(Section):
    refresh_on_read: bool = Field(True, description="a read restarts the time to live")
    default_ttl: Minutes | None = Field(None, description="minutes to live")
    sweep_interval_minutes: Minutes | None = Field(
        None, description="how often expired items are deleted"
    )


class Store(Section):
    index: StoreIndex | None = Field(None, description="semantic search")
    ttl: StoreTTL = Field(StoreTTL(), description="how long items live")

    _empty_index = field_validator("index", mode="before")(_none_if_empty)


class CheckpointerTTL(Section):
    strategy: Literal["delete", "keep_latest"] = Field(
        "delete", description="what happens to expired threads"
    )
    default_ttl: Positive | None = Field(None, description="minutes to live")
    sweep_interval_minutes: Positive | None = Field(
        None, description="how often expired threads are removed"
    )
    sweep_limit: Positive | None = Field(
        None, description="maximum of threads in one sweep"
    )


class Serde(Section):
    pickle_fallback: bool = Field(
        False, description="use pickle for values that can't be stored otherwise"
    )
    allowed_json_modules: Modules = Field(
        None, description="classes that old checkpoints may restore, or `true`"
    )
    allowed_msgpack_modules: Modules = Field(
        None, description="classes that checkpoints may restore, or `true`"
    )


class Checkpointer(Section):
    ttl: CheckpointerTTL = Field(CheckpointerTTL(), description="how long threads live")
    serde: Serde = Field(Serde(), description="how state is stored")


class AuthCache(Section):
    cache_keys: Strings = Field([], description="headers that identify a caller")
    ttl_seconds: NotNegative = Field(60, description="how long a caller is cached")
    max_size: NotNegative = Field(1000, description="maximum of cached callers")


class Auth(Section):
    path: str | None = Field(None, description="a `langgraph_sdk.Auth`")
    cache: AuthCache | None = Field(None, description="cache of authenticated callers")
    _empty_cache = field_validator("cache", mode="before")(_none_if_empty)
    openapi: dict[str, Any] = Field({}, description="how callers log in, for `/docs`")
    disable_studio_auth: bool = Field(False, description="has no effect here")


class Cors(Section):
    allow_origins: Strings = Field([], description="origins, or `*`")
    allow_origin_regex: str | None = Field(None, description="origins by a pattern")
    allow_methods: Strings = Field(["GET"], description="methods, or `*`")
    allow_headers: Strings = Field([], description="request headers, or `*`")
    expose_headers: Strings = Field(
        [], description="response headers that pages may read"
    )
    allow_credentials: bool = Field(False, description="allow credentials")
    max_age: int = Field(600, description="how long a preflight is cached, in seconds")


class ConfigurableHeaders(Section):
    includes: Strings = Field([], description="patterns of headers")
    excludes: Strings = Field([], description="patterns of headers")

    @model_validator(mode="before")
    @classmethod
    def _other_spelling(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        others = {
            f"{key}s": given[key]
            for key in ("include", "exclude")
            if given.get(key) and not given.get(f"{key}s")
        }
        return {k: v for k, v in given.items() if k not in ("include", "exclude")} | (
            others
        )


class Http(Section):
    app: str | None = Field(None, description="an ASGI application of your own")
    enable_custom_route_auth: bool = Field(
        False, description="its routes need authentication, too"
    )
    mount_prefix: str | None = Field(None, description="a prefix for all routes")
    cors: Cors | None = Field(None, description="which pages may call the API")
    configurable_headers: ConfigurableHeaders | None = Field(
        None, description="headers that graphs see in `configurable`"
    )
    disable_assistants: bool = Field(False, description="disable these routes")
    disable_threads: bool = Field(False, description="disable these routes")
    disable_runs: bool = Field(False, description="disable these routes")
    disable_store: bool = Field(False, description="disable these routes")
    disable_mcp: bool = Field(False, description="disable these routes")
    disable_a2a: bool = Field(False, description="disable these routes")
    disable_meta: bool = Field(False, description="disable these routes")
    disable_ui: bool = Field(False, description="disable these routes")
    disable_webhooks: bool = Field(False, description="refuse runs with a webhook")


class WebhookURLs(Section):
    """The policy for webhook URLs. Unknown options are refused."""

    # A misspelt option would allow more than was intended.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    require_https: bool = Field(True, description="refuse plain http")
    allowed_domains: Strings = Field([], description="hosts, or `*.example.com`")
    allowed_ports: list[int] = Field([], description="ports that may be called")
    max_url_length: int = Field(65536, description="characters")
    disable_loopback: bool = Field(True, description="refuse loopback addresses")


class Webhooks(Section):
    env_prefix: str = Field(
        "LG_WEBHOOK_", description="prefix of the variables that headers may use"
    )
    headers: dict[str, str] = Field({}, description="sent with every webhook")
    url: WebhookURLs | None = Field(None, description="the URLs that may be called")


class Priority(Section):
    path: str | None = Field(None, description="a `langgraph_sdk.Priority`")


class LanggraphJson(Section):
    graphs: dict[str, GraphEntry] = Field(description="the graphs to serve, by id")
    dependencies: Strings = Field(
        [], description="directories of modules, and packages"
    )
    env: dict[str, Any] | str = Field({}, description="variables, or a `.env` file")
    auth: Auth = Field(Auth(), description="authentication")
    store: Store = Field(Store(), description="long-term memory")
    checkpointer: Checkpointer = Field(Checkpointer(), description="state of threads")
    http: Http = Field(Http(), description="the HTTP server")
    webhooks: Webhooks = Field(Webhooks(), description="webhooks")
    priority: Priority = Field(Priority(), description="the priority of runs")

    @field_validator("graphs", mode="before")
    @classmethod
    def _check_graphs(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given:
            raise _wrong("must map at least one id to path.py:name")
        entries = {
            graph_id: entry if isinstance(entry, dict) else {"path": entry}
            for graph_id, entry in given.items()
        }
        for graph_id, entry in entries.items():
            reference = entry.get("path")
            if not isinstance(reference, str) or ":" not in reference:
                raise _wrong(
                    f".{graph_id} must be path.py:name, not {given[graph_id]!r}"
                )
        return entries

    @field_validator("env", mode="before")
    @classmethod
    def _check_env(cls, given: Any) -> Any:
        """Refuse values that are not text or that an environment can't hold."""
        if not isinstance(given, (dict, str)):
            raise _wrong("must be an object, or the path of a file")
        for name, value in given.items() if isinstance(given, dict) else ():
            if not name or "=" in name or "\0" in name:
                raise _wrong(f": {name!r} is not a valid name of a variable")
            if not isinstance(value, (str, int, float)) or "\0" in str(value):
                kinds = "text without NUL, a number or a boolean"
                raise _wrong(f".{name} must be {kinds}")
        return given


# --- Reading --------------------------------------------------------------------------
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
    """Set the variables that are not set: the process's environment has precedence."""
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
        return {}  # As in a fresh clone of a template; see `warn_of_ignored_keys`.
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


# --- Objects that the file names ------------------------------------------------------
# A module is in `sys.modules` before it has run, so other threads have to wait for it.
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
    # A file that is named in several references is one module.
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
