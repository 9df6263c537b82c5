"""Agent cards: what an assistant is, where it is served, and how callers log in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentSkill,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)
from a2a.utils.errors import ExtendedAgentCardNotConfiguredError
from django.http import HttpRequest
from django.urls import reverse
from google.protobuf.json_format import ParseDict, ParseError

from spool.access.openapi import security
from spool.access.scope import Scope
from spool.assistants.models import Assistant
from spool.assistants.schemas import EdgeSchemas
from spool.config.access_mode import is_open
from spool.config.langgraph_json import langgraph_json
from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.sending import fields_of
from spool.protocols.a2a.tasks import MESSAGES, edges_of
from spool.web.links import absolute_url

JSON = "application/json"
TEXT = "text/plain"
FILES = ("image/*", "audio/*", "video/*", "application/pdf")
# OpenAPI's kinds of security schemes, with A2A's names for them and for their fields.
SCHEMES = {
    "apiKey": (
        "apiKeySecurityScheme",
        {"description": "description", "in": "location", "name": "name"},
    ),
    "http": (
        "httpAuthSecurityScheme",
        {
            "description": "description",
            "scheme": "scheme",
            "bearerFormat": "bearerFormat",
        },
    ),
    "oauth2": (
        "oauth2SecurityScheme",
        {"description": "description", "flows": "flows"},
    ),
    "openIdConnect": (
        "openIdConnectSecurityScheme",
        {"description": "description", "openIdConnectUrl": "openIdConnectUrl"},
    ),
}
# The extension whose `params` have the JSON schemas of the agent's input and output.
SCHEMAS_URI = "urn:spool:a2a:schemas"


def public_card(request: HttpRequest, assistant: Assistant) -> dict[str, Any]:
    """The card in the format of 1.0, with the fields that clients of 0.3 need."""
    edges = edges_of(assistant.id, Scope())
    return agent_card_to_dict(_card(request, assistant, edges))


def extended_card(call: Call) -> AgentCard:
    """The card for authenticated callers, which also has the JSON schemas."""
    if is_open():
        raise ExtendedAgentCardNotConfiguredError
    scope, assistant = call.agent()
    edges = edges_of(assistant.id, scope)
    card = _card(call.request._request, assistant, edges)
    schemas = AgentExtension(
        uri=SCHEMAS_URI, description="JSON schemas of this agent's input and output"
    )
    schemas.params.update({"input": edges.input, "output": edges.output})
    card.capabilities.extensions.append(schemas)
    return card


def _card(request: HttpRequest, assistant: Assistant, edges: EdgeSchemas) -> AgentCard:
    inputs, outputs = _input_modes(edges), [TEXT, JSON]
    description = assistant.description or f"The graph {assistant.graph_id}"
    card = AgentCard(
        name=assistant.name,
        description=description,
        version=str(assistant.version),
        supported_interfaces=_interfaces(request, assistant),
        capabilities=AgentCapabilities(
            streaming=True,
            push_notifications=not langgraph_json().http.disable_webhooks,
            extended_agent_card=not is_open(),
        ),
        default_input_modes=inputs,
        default_output_modes=outputs,
        skills=[
            AgentSkill(
                id=assistant.graph_id,
                name=assistant.name,
                description=_skill(description, edges),
                tags=[assistant.graph_id],
                input_modes=inputs,
                output_modes=outputs,
            )
        ],
    )
    _secure(card)
    return card


def _interfaces(request: HttpRequest, assistant: Assistant) -> list[AgentInterface]:
    url = absolute_url(request, reverse("a2a", args=[assistant.id]))
    return [
        AgentInterface(url=url, protocol_binding=binding, protocol_version=version)
        for binding, version in (
            ("JSONRPC", "1.0"),
            ("HTTP+JSON", "1.0"),
            ("JSONRPC", "0.3"),
        )
    ]


def _input_modes(edges: EdgeSchemas) -> list[str]:
    return [TEXT, JSON, *FILES] if MESSAGES in fields_of(edges.input) else [JSON, TEXT]


def _skill(description: str, edges: EdgeSchemas) -> str:
    """The skill, with a description of data parts if the input has other fields."""
    fields = sorted(set(fields_of(edges.input)) - {MESSAGES})
    if not fields:
        return description
    return f"{description}. Accepted data: {', '.join(fields)}"


# --- How callers log in --------------------------------------------------------------
def _secure(card: AgentCard) -> None:
    """Add the security schemes that are enabled, as `/openapi.json` does."""
    if is_open():
        return
    given = security()
    for name, scheme in given.get("securitySchemes", {}).items():
        if found := _scheme(scheme):
            card.security_schemes[name].CopyFrom(found)
    card.security_requirements.extend(_requirements(given.get("security", [])))


def _scheme(given: dict[str, Any]) -> SecurityScheme | None:
    """Convert OpenAPI's security scheme to A2A's; None if A2A doesn't know its kind."""
    name, fields = SCHEMES.get(str(given.get("type")), ("", {}))
    made = {ours: given[theirs] for theirs, ours in fields.items() if theirs in given}
    scheme = SecurityScheme()
    try:
        ParseDict({name: made}, scheme, ignore_unknown_fields=True)
    except ParseError:
        return None
    return scheme if name else None


def _requirements(given: Iterable[dict[str, list[str]]]) -> list[SecurityRequirement]:
    return [
        SecurityRequirement(
            schemes={name: StringList(list=scopes) for name, scopes in one.items()}
        )
        for one in given
    ]
