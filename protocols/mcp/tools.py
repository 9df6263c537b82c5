"""The tools of a caller: the assistants that the caller may see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest
from mcp_types import Tool, ToolAnnotations
from rest_framework.request import Request

from spool.access.policy import Scope, authorize
from spool.assistants.graphs import registry
from spool.assistants.models import Assistant, AssistantQuerySet
from spool.assistants.schemas import EdgeSchemas, edge_schemas
from spool.protocols.mcp.names import tool_names
from spool.protocols.mcp.schemas import ToolSchemas, tool_schemas
from spool.web.errors import Unprocessable

PAGE = 200
# For a graph that could not be built: the tool is listed, and its calls say why.
UNKNOWN = EdgeSchemas({"type": "object"}, {"type": "object"}, None)


class UnknownTool(LookupError):
    """No assistant that the caller may see has a tool of this name."""


@dataclass(frozen=True)
class AssistantTool:
    name: str
    assistant: Assistant
    schemas: ToolSchemas

    def described(self) -> Tool:
        assistant = self.assistant
        said = assistant.description or registry().description(assistant.graph_id)
        return Tool(
            name=self.name,
            title=assistant.name,
            description=said or f"Run the assistant {assistant.name}.",
            input_schema=self.schemas.input,
            output_schema=self.schemas.output,
            annotations=ToolAnnotations(
                title=assistant.name,
                # Hints about what any agent may do.
                read_only_hint=False,
                destructive_hint=True,
                idempotent_hint=False,
                open_world_hint=True,
            ),
        )


def list_tools(
    request: Request | HttpRequest, offset: int
) -> tuple[list[Tool], int | None]:
    """A page of the caller's tools, and the offset of the next page (None: no more)."""
    scope, assistants = _visible(request)
    names = _names(assistants)
    ids = list(names)[offset : offset + PAGE]
    found = assistants.in_bulk(ids)
    tools = [
        AssistantTool(names[pk], found[pk], _schemas(found[pk], scope)).described()
        for pk in ids
        if pk in found
    ]
    following = offset + PAGE
    return tools, following if following < len(names) else None


def find_tool(request: Request | HttpRequest, name: str) -> AssistantTool:
    """The caller's tool of this name. Raises `UnknownTool`."""
    scope, assistants = _visible(request)
    called = [pk for pk, one in _names(assistants).items() if one == name]
    assistant = assistants.filter(pk__in=called).first()
    if assistant is None:
        raise UnknownTool(name)
    return AssistantTool(name, assistant, _schemas(assistant, scope))


def list_digest(request: Request | HttpRequest) -> str:
    """A digest that changes whenever the caller's list of tools changes."""
    _, assistants = _visible(request)
    rows = assistants.order_by("pk").values_list("pk", "name", "updated_at")
    return hashlib.sha256(repr(list(rows)).encode()).hexdigest()


def _visible(request: Request | HttpRequest) -> tuple[Scope, AssistantQuerySet]:
    value: dict[str, Any] = {
        "graph_id": None,
        "metadata": {},
        "limit": PAGE,
        "offset": 0,
    }
    scope = authorize(request, "assistants.search", value).scope
    served = Q(graph_id__in=registry().graph_ids)
    return scope, Assistant.objects.visible_to(scope).filter(served)


def _names(assistants: AssistantQuerySet) -> dict[UUID, str]:
    """The names of all the caller's tools, system assistants first.

    Reads all assistants, since a name depends on whether another one is equal.
    """
    rows = assistants.order_by("-is_system", "created_at", "pk")
    return tool_names(rows.values_list("pk", "name"))


def _schemas(assistant: Assistant, scope: Scope) -> ToolSchemas:
    try:
        return _of_edges(edge_schemas(assistant, scope))
    except Unprocessable:
        return _of_edges(UNKNOWN)


@lru_cache(maxsize=1024)
def _of_edges(edges: EdgeSchemas) -> ToolSchemas:
    return tool_schemas(edges)
