"""The schema of `langgraph.json`: a Pydantic model for each section.

The errors are worded for the line with which a server stops; see
`spool.config.langgraph_json`, which reads the file.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

# The maximum TTL, a century: much longer ones exceed Postgres's range of dates.
MAX_MINUTES = 100 * 365 * 24 * 60


def _wrong(problem: str) -> PydanticCustomError:
    """An error of a value, or of one of its entries if `problem` begins with a dot."""
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
    description: str | None = Field(None, description="description of its assistant")


class StoreIndex(Section):
    dims: int = Field(description="dimensions of the vectors")
    embed: str = Field(description="`provider:model` or `path.py:function`")
    # Pydantic itself uses the name `fields`.
    paths: Strings = Field([], alias="fields", description="paths that are embedded")


class StoreTTL(Section):
    refresh_on_read: bool = Field(True, description="a read restarts the time to live")
    default_ttl: Minutes | None = Field(None, description="minutes to live")
    sweep_interval_minutes: Minutes | None = Field(
        None, description="how often expired items are deleted, in minutes"
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
        None, description="how often expired threads are removed, in minutes"
    )
    sweep_limit: Positive | None = Field(
        None, description="maximum number of threads in one sweep"
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
    max_size: NotNegative = Field(1000, description="maximum number of cached callers")


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
        False, description="its routes require authentication, too"
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

    @cached_property
    def disabled_groups(self) -> frozenset[str]:
        """The groups of routes that are disabled."""
        flags = {name for name, value in self if value is True}
        return frozenset(
            name.removeprefix("disable_")
            for name in flags
            if name.startswith("disable_")
        )


class WebhookURLs(Section):
    """The policy for webhook URLs. Unknown options are refused."""

    # A misspelt option would allow more than was intended.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    require_https: bool = Field(True, description="refuse plain http")
    allowed_domains: Strings = Field([], description="hosts, or `*.example.com`")
    allowed_ports: list[int] = Field([], description="ports that may be called")
    max_url_length: int = Field(65536, description="maximum length in characters")
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
