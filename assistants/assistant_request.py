"""Requests for assistants, as they are passed from the serializers to the services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class AssistantChanges:
    """None is no change. Metadata is merged at its top level."""

    graph_id: str | None = None
    name: str | None = None
    description: str | None = None
    config: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
