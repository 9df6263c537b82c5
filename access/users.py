"""The user that an `authenticate` handler returned, for handlers and graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

NAMES = ("identity", "display_name", "is_authenticated", "permissions")


class User(Mapping[str, Any]):
    """The user that handlers and graphs get: keys can also be read as attributes."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        # A deep copy: user code may change it, and the caller is cached.
        self._given = deepcopy(dict(given))

    # Declared, as the protocols of `langgraph_sdk.auth.types` require.
    @property
    def identity(self) -> str:
        return str(self._given.get("identity", ""))

    @property
    def display_name(self) -> str:
        return str(self._given.get("display_name", self.identity))

    @property
    def is_authenticated(self) -> bool:
        return bool(self._given.get("is_authenticated", True))

    @property
    def permissions(self) -> list[str]:
        return list(self._given.get("permissions") or ())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._given:
            raise AttributeError(name)
        return self._given[name]

    def __getitem__(self, key: str) -> Any:
        return self._given[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        return f"User({self._given.get('identity')!r})"


def user_dict(given: Any) -> dict[str, Any] | None:
    """Convert a user (a string, a dictionary or an object) to a dictionary.

    Returns None for no user.
    """
    if given is None:
        return None
    if isinstance(given, str):
        found: dict[str, Any] = {"identity": given}
    elif isinstance(given, Mapping):
        found = dict(given)
    else:
        found = _attributes(given)
    found.setdefault("identity", None)
    permissions = found.get("permissions") or []
    return {
        **found,
        "display_name": found.get("display_name") or str(found["identity"]),
        "is_authenticated": found.get("is_authenticated", True) is not False,
        "permissions": [str(permission) for permission in permissions],
    }


def _attributes(given: Any) -> dict[str, Any]:
    own = getattr(given, "__dict__", {})
    found = {key: value for key, value in own.items() if not key.startswith("_")}
    named = {name: getattr(given, name) for name in NAMES if hasattr(given, name)}
    return {**found, **named}
