"""Validate namespaces, and convert them to the text that Postgres stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from langgraph.store.base import InvalidNamespaceError

from spool.database.json import clean_text

# Owner, namespace and key are one entry of an index, and Postgres allows 2704 bytes.
MAX_PLACE_BYTES = 2600

# LangGraph reserves this root.
RESERVED_ROOT = "langgraph"


class EmptyNamespace(InvalidNamespaceError):
    """Items need a namespace of at least one label."""


class ReservedNamespace(InvalidNamespaceError):
    """The namespace begins with a reserved label."""


class BadLabel(InvalidNamespaceError):
    """A label is not a string, is empty, or contains the separator."""


class PlaceTooLong(ValueError):
    """Namespace and key together are longer than an index entry can be."""


def check_labels(namespace: Sequence[Any]) -> None:
    for label in namespace:
        if not isinstance(label, str):
            raise BadLabel(f"Namespace labels must be strings, not {label!r}")
        if not label:
            raise BadLabel("Namespace labels cannot be empty")
        if "." in label or "\0" in label:
            raise BadLabel(f"Namespace labels cannot contain '.' or NUL: {label!r}")


def check_writable(namespace: Sequence[Any]) -> None:
    if not namespace:
        raise EmptyNamespace("Namespace cannot be empty")
    check_labels(namespace)
    if namespace[0] == RESERVED_ROOT:
        raise ReservedNamespace(f"Namespaces cannot begin with {RESERVED_ROOT!r}")


def check_place(owner: str, path: str, key: str) -> None:
    parts = (
        ("Namespace", path, settings.STORE_NAMESPACE_MAX_BYTES, "NAMESPACE"),
        ("Key", key, settings.STORE_KEY_MAX_BYTES, "KEY"),
    )
    for what, text, max_bytes, setting in parts:
        if (size := len(text.encode())) > max_bytes:
            raise PlaceTooLong(
                f"{what} is too long: {size} bytes, maximum {max_bytes} "
                f"(STORE_{setting}_MAX_BYTES)"
            )
    size = len(owner.encode()) + len(path.encode()) + len(key.encode())
    if size > MAX_PLACE_BYTES:
        raise PlaceTooLong(
            f"Namespace and key are too long: {size} bytes with the owner, maximum "
            f"{MAX_PLACE_BYTES}"
        )


def path_of(namespace: Sequence[str]) -> str:
    return clean_text(".".join(namespace))
