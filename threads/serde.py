"""How state is serialized: `checkpointer.serde` of langgraph.json.

Without `pickle_fallback` nothing is unpickled: anyone who can write to the database could
otherwise run code in every process that reads a state.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from spool.config.langgraph_json import langgraph_json

SETTING = "checkpointer.serde.pickle_fallback"


class Unserializable(TypeError):
    """A value that can't be stored, or read, with the configured serializer."""


class Serializer(JsonPlusSerializer):
    """LangGraph's serializer, with errors that name the setting."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        try:
            return super().dumps_typed(obj)
        except Exception as exc:  # Pickle runs the code of the object's class.
            reason = str(exc) or type(exc).__name__
            raise Unserializable(self._with_hint(reason)) from exc

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] == "pickle" and not self.pickle_fallback:
            raise Unserializable(self._with_hint("It was stored by pickle"))
        return super().loads_typed(data)

    def _with_hint(self, reason: str) -> str:
        if self.pickle_fallback:
            return reason
        return f"{reason}. `{SETTING}: true` in langgraph.json allows pickle for it"


@cache
def serializer() -> Serializer:
    given = langgraph_json().checkpointer.serde
    more: dict[str, Any] = {
        name: modules if modules is True else [tuple(path) for path in modules]
        for name in ("allowed_json_modules", "allowed_msgpack_modules")
        if (modules := getattr(given, name))
    }
    return Serializer(pickle_fallback=given.pickle_fallback, **more)
