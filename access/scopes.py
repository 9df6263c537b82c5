"""Scopes of API keys and tokens: `resource:action`, where either may be `*`.

`read` includes all read-only actions: `threads:read` also allows searches.
"""

from __future__ import annotations

from collections.abc import Iterable

ACTIONS = {
    "assistants": ("create", "read", "update", "delete", "search"),
    "threads": ("create", "read", "update", "delete", "search", "create_run"),
    "crons": ("create", "read", "update", "delete", "search"),
    "store": ("put", "get", "search", "delete", "list_namespaces"),
}
LOOKING = ("read", "search", "get", "list_namespaces")


class BadScope(ValueError):
    """An invalid scope, which would allow nothing."""


def allow(scopes: Iterable[str] | None, resource: str, action: str) -> bool:
    """Whether any scope allows the action. None allows all, an empty list nothing."""
    if scopes is None:
        return True
    return any(_covers(scope, resource, action) for scope in scopes)


def check(scope: str) -> str:
    resource, _, action = scope.partition(":")
    known = {name for names in ACTIONS.values() for name in names} | {"*"}
    if resource in ACTIONS:
        known = {*ACTIONS[resource], "read", "*"}
    elif resource != "*":
        raise BadScope(f"{scope!r} is not resource:action")
    if action not in known:
        raise BadScope(
            f"{scope!r}: the action must be one of {', '.join(sorted(known))}"
        )
    return scope


def _covers(scope: str, resource: str, action: str) -> bool:
    wanted_resource, _, wanted_action = scope.partition(":")
    if wanted_resource not in ("*", resource):
        return False
    looks = wanted_action == "read" and action in LOOKING
    return looks or wanted_action in ("*", action)
