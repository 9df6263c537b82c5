"""Requests for assistants, as they are passed from the serializers to the services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID, uuid4


@dataclass(frozen=True, slots=True)
class NewAssistant:
    graph_id: str
    id: UUID = field(default_factory=uuid4)
    name: str | None = None
    description: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    # What happens if there is an assistant with this id: `raise` or `do_nothing`.
    if_exists: str = "raise"


class Unchanged(Enum):
    """The value of a field that a request does not change."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class AssistantChanges:
    """Metadata is merged at its top level."""

    graph_id: str | Unchanged = UNCHANGED
    name: str | Unchanged = UNCHANGED
    description: str | Unchanged | None = UNCHANGED
    config: Mapping[str, Any] | Unchanged = UNCHANGED
    context: Mapping[str, Any] | Unchanged = UNCHANGED
    metadata: Mapping[str, Any] = field(default_factory=dict)
