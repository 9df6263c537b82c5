"""The keys of `configurable` and `context` that clients may set and graphs get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import AliasChoices, BaseModel, ValidationError
from typing_extensions import is_typeddict

# Only the server sets these: a client's value could reach another thread's state.
RESERVED = {"thread_id", "run_id", "graph_id", "assistant_id"}
# LangGraph's internal keys, and the authenticated user.
RESERVED_PREFIXES = ("__", "langgraph_auth_")
# The keys that name the checkpoint to continue from.
FORK_POINT = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")


def of_client(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The keys of a `configurable` that a client, or an assistant, may set."""
    return {
        key: value
        for key, value in (given or {}).items()
        if key not in RESERVED and not key.startswith(RESERVED_PREFIXES)
    }


def without_auth(given: Mapping[str, Any]) -> dict[str, Any]:
    """A client's context or metadata without the keys of the authenticated user."""
    return {k: v for k, v in given.items() if not k.startswith(RESERVED_PREFIXES)}


def context_for(schema: Any, given: Mapping[str, Any] | None) -> Any:
    """A graph's context: the given keys that are in its schema.

    If there are none, it is an instance with the defaults of a dataclass or a Pydantic
    model; None for other kinds of schema, or if a field has no default.
    """
    context = without_auth(given or {})
    names = _names(schema)
    if names is not None:
        context = {key: value for key, value in context.items() if key in names}
    return context or _defaults(schema)


def is_built(schema: Any) -> bool:
    """Whether the schema is a class whose instances are built from the keys."""
    if not isinstance(schema, type):
        return False
    return issubclass(schema, BaseModel) or is_dataclass(schema)


def _defaults(schema: Any) -> Any:
    if not is_built(schema):
        return None
    try:
        return schema()
    except (TypeError, ValidationError):
        return None


def _names(schema: Any) -> set[str] | None:
    """The keys of a schema; None if they are not known."""
    if is_typeddict(schema):
        return {*schema.__required_keys__, *schema.__optional_keys__}
    if not is_built(schema):
        return None
    if not issubclass(schema, BaseModel):
        return {field.name for field in fields(schema) if field.init}
    names = set(schema.model_fields)
    for field in schema.model_fields.values():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names |= {choice for choice in choices if isinstance(choice, str)}
    return names
