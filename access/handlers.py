"""The official `langgraph_sdk.Auth` contract: `auth.path` in langgraph.json.

Its handlers authenticate callers, authorize requests, stamp the rows that callers
create, and filter the rows that they see. Coroutines run on the process's event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, cast
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest
from langgraph_sdk import Auth
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from spool.access.auth_request import PARAMETERS, AuthRequest, argument
from spool.access.callers import BadIdentity, Caller, checked_identity
from spool.access.filters import BadFilter, pinned, rows_matching
from spool.access.remembered import Remembered
from spool.access.scope import STAMPED, Allowed, Forbidden, Scope
from spool.access.users import User, user_dict
from spool.config.env import stop
from spool.config.langgraph_json import langgraph_json
from spool.config.langgraph_schema import AuthCache
from spool.config.missing import install_hint
from spool.config.user_objects import load_object
from spool.database.loop import shared_loop
from spool.web import inside

# Time out handlers, so that a slow remote service can't block a thread.
HANDLER_TIMEOUT_SECS = 30.0
# The headers that identify a caller, unless `auth.cache` names others.
SHOWN = ["authorization", "x-api-key"]


class Refused(APIException):
    """An error that a handler raised, with the handler's status and text."""

    def __init__(self, code: int, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.status_code = code
        self.headers = dict(headers)


class Handlers:
    def __init__(self, auth: Auth, cache: AuthCache | None) -> None:
        self._auth = auth
        self._remembered = Remembered(int(cache.max_size) if cache else 0)
        self._cache_secs = cache.ttl_seconds if cache else 0.0
        self._cache_headers = (cache and cache.cache_keys) or SHOWN
        assert auth._authenticate_handler  # noqa: S101 - see `handlers`
        self._authenticate: Any = auth._authenticate_handler
        self._parameters = _parameters(self._authenticate)
        # A store handler decides how items are shared. Without one, each caller has
        # their own store.
        self._shares_store = any(resource == "store" for resource, _ in auth._handlers)

    # --- Authentication ---------------------------------------------------------------
    def authenticate(self, request: Request | HttpRequest) -> Caller:
        """The caller. Raises what the handler raises, or 401 for an anonymous user."""
        digest = self._digest(request)
        if digest and (known := self._remembered.get(digest)):
            return known
        described = AuthRequest(request)
        given = {name: argument(described, name) for name in self._parameters}
        user = user_dict(_call(self._authenticate, given))
        caller = _caller(user)
        if digest:
            self._remembered.put(digest, caller, self._cache_secs)
        return caller

    def _digest(self, request: Request | HttpRequest) -> str:
        """A digest of the headers that identify a caller; "" to skip the cache."""
        if not self._cache_secs:
            return ""
        shown = [(name, request.headers.get(name)) for name in self._cache_headers]
        if not any(value for _, value in shown):
            return ""
        return hashlib.sha256(repr(shown).encode(errors="surrogatepass")).hexdigest()

    # --- Authorization ----------------------------------------------------------------
    def authorize(
        self, caller: Caller, event: str, value: Mapping[str, Any]
    ) -> Allowed:
        allowed = self._ask(caller, event, value)
        about = self._of_threads(event, allowed.value)
        if about is None:
            return allowed
        threads = self._ask(caller, "threads.search", about).scope
        rows = allowed.scope.rows & threads.rows
        return replace(allowed, scope=replace(allowed.scope, rows=rows))

    def _of_threads(
        self, event: str, value: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """The value of `threads.search`, if an event needs that permission as well.

        Callers see only crons of threads that they can see. The official server checks
        this in searches. Without a handler for crons, the one for threads also protects
        crons that are requested by their id.
        """
        if event == "crons.search":
            return value
        resource, _, action = event.partition(".")
        if resource != "crons" or action == "create":
            return None
        if self._most_specific(resource, action):
            return None
        return {
            "metadata": {},
            "values": {},
            "status": None,
            "limit": 1,
            "offset": 0,
            "ids": None,
        }

    def _ask(self, caller: Caller, event: str, value: Mapping[str, Any]) -> Allowed:
        resource, _, action = event.partition(".")
        partition = "" if self._shares_store else caller.identity
        handler = self._most_specific(resource, action)
        if handler is None:
            return Allowed(Scope(partition, Q(), caller.user), value)
        context = Auth.types.AuthContext(
            # A copy, as in `User`, since the caller may be cached for other requests.
            permissions=list(caller.user["permissions"]),
            user=cast("Any", User(caller.user)),
            resource=cast("Any", resource),
            action=cast("Any", action),
        )
        # Handlers change the value that they are given.
        changed: dict[str, Any] = _copy(value)
        metadata = changed.get("metadata")
        answer = _call(handler, {"ctx": context, "value": changed})
        rows = _rows(answer)
        if resource == "store":
            rows = _none_of_store(rows, partition)
        if isinstance(metadata, dict):
            replaced = changed.get("metadata")
            kept = replaced if isinstance(replaced, Mapping) else metadata
            # The filter's values, so that callers can see the rows that they write.
            is_filter = isinstance(answer, Mapping) and action in STAMPED
            changed["metadata"] = {**kept, **(pinned(answer) if is_filter else {})}
        return Allowed(Scope(partition, rows, caller.user), changed)

    def _most_specific(self, resource: str, action: str) -> Any:
        for place in ((resource, action), (resource, "*"), ("*", action)):
            if found := self._auth._handlers.get(place):
                return found[-1]
        return self._auth._global_handlers[-1] if self._auth._global_handlers else None


@cache
def handlers() -> Handlers | None:
    """The handlers; None if langgraph.json has none. Bad ones stop the process."""
    config = langgraph_json().auth
    path = config.path
    if not path:
        return None
    try:
        auth = load_object(path)
    except Exception as exc:  # The operator's module may raise anything.
        stop(
            f"auth.path: cannot load {path}: {type(exc).__name__}: {exc}"
            f"{install_hint(exc)}"
        )
    if not isinstance(auth, Auth):
        stop(f"auth.path: {path} is not a langgraph_sdk.Auth")
    if auth._authenticate_handler is None:
        stop(f"auth.path: {path} has no @authenticate handler")
    return Handlers(auth, config.cache)


def _parameters(function: Any) -> list[str]:
    wanted = inspect.signature(function).parameters.values()
    named = [p for p in wanted if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for parameter in named:
        if parameter.name not in PARAMETERS and parameter.default is parameter.empty:
            stop(
                f"auth.path: @authenticate has an unknown parameter {parameter.name!r}"
            )
    return [p.name for p in named if p.name in PARAMETERS]


def _call(function: Any, arguments: dict[str, Any]) -> Any:
    try:
        # Handlers may use `get_client()`. Its requests must not call handlers again.
        with inside.acting(inside.SYSTEM):
            if not inspect.iscoroutinefunction(function):
                return function(**arguments)
            return shared_loop().run(
                asyncio.wait_for(function(**arguments), HANDLER_TIMEOUT_SECS)
            )
    except AssertionError as exc:
        # Handlers often `assert namespace[0] == ctx.user.identity`.
        raise Forbidden from exc
    except Exception as exc:
        code = getattr(exc, "status_code", None)
        if isinstance(exc, APIException) or not isinstance(code, int) or code < 400:
            raise
        detail = str(getattr(exc, "detail", "") or "")
        raise Refused(code, detail, getattr(exc, "headers", None) or {}) from exc


def _caller(user: dict[str, Any] | None) -> Caller:
    if user is None or not user["is_authenticated"]:
        raise Refused(401, "Unauthorized", {})
    identity = user["identity"]
    if isinstance(identity, (int, UUID)):
        identity = str(identity)
    try:
        user["identity"] = checked_identity(identity)
    except BadIdentity as exc:
        detail = f"authenticate returned a user whose identity is {identity!r}: {exc}"
        raise Refused(400, detail, {}) from None
    return Caller(user["identity"], None, user, user["identity"])


def _rows(answer: Any) -> Q:
    if answer is None or answer is True:
        return Q()
    if answer is False:
        raise Forbidden
    if not isinstance(answer, Mapping):
        raise BadFilter(
            f"a handler returned {answer!r}, which is neither a bool nor a filter"
        )
    return rows_matching(answer)


def _none_of_store(rows: Q, partition: str) -> Q:
    """Ignore a filter for the store, since items have no metadata to filter by.

    A global handler may return one, which is not needed if each caller has their own
    store. In a shared store it would protect nothing, so `BadFilter` is raised.
    """
    if rows and not partition:
        raise BadFilter("a handler for a shared store must change value['namespace']")
    return Q()


def _copy(value: Any) -> Any:
    """A copy of JSON. Other values, such as UUIDs, are immutable and not copied."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
