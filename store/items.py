"""Items as the API shows them: LangGraph's, with the metadata that those have no place for."""

from __future__ import annotations

from typing import Any

from langgraph.store.base import Item, SearchItem


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
