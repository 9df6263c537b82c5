"""Items as the API shows them: LangGraph's items, plus `metadata`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from langgraph.store.base import Item, SearchItem


class ApiExtras(NamedTuple):
    """What the API adds to an operation: metadata to store or to search for."""

    # For a put, the item's new metadata; None keeps the stored metadata. For a search,
    # metadata that the found items must contain.
    metadata: Mapping[str, Any] | None = None


NO_EXTRAS = ApiExtras()


class StoredItem(Item):
    __slots__ = ("metadata",)

    def __init__(self, *, metadata: Any, **fields: Any) -> None:
        super().__init__(**fields)
        self.metadata = metadata


class FoundItem(SearchItem):
    __slots__ = ("metadata",)

    def __init__(self, *, metadata: Any, **fields: Any) -> None:
        super().__init__(**fields)
        self.metadata = metadata
