"""Items as the API shows them: LangGraph's, with the metadata that those have no place for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from langgraph.store.base import Item, SearchItem


class ApiExtras(NamedTuple):
    """What the API says beside an operation, and wants to see beside an item."""

    # Of a put: what the item gets; None keeps what it has. Of a search: what the items
    # that are found contain.
    metadata: Mapping[str, Any] | None = None


NO_EXTRAS = ApiExtras()


class StoredItem(Item):
    __slots__ = ("metadata",)

    def __init__(self, *, metadata: dict[str, Any], **fields: Any) -> None:
        super().__init__(**fields)
        self.metadata = metadata


class FoundItem(SearchItem):
    __slots__ = ("metadata",)

    def __init__(self, *, metadata: dict[str, Any], **fields: Any) -> None:
        super().__init__(**fields)
        self.metadata = metadata
