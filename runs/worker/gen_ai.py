"""Models and their messages in OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage

# Parameters of a call, and the attributes that they become.
PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop": "stop_sequences",
}
# LangChain's names of providers that have other names in the conventions.
PROVIDERS = {
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "amazon_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
ROLES = {"human": "user", "ai": "assistant"}


def about_call(
    operation: str, found: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Attributes of a model call, from the arguments of LangChain's callback."""
    invoked = options.get("invocation_params") or {}
    model = found.get("ls_model_name") or invoked.get("model_name")
    provider = str(found.get("ls_provider") or "")
    about: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDERS.get(provider, provider) or "unknown",
        "gen_ai.request.model": str(
            model or invoked.get("model") or options.get("name") or ""
        ),
    }
    for name, attribute in PARAMETERS.items():
        if (value := invoked.get(name)) is not None:
            about[f"gen_ai.request.{attribute}"] = (
                value if isinstance(value, (int, float)) else _texts(value)
            )
    return about


def _texts(value: Any) -> list[str]:
    return list(map(str, value if isinstance(value, (list, tuple)) else [value]))


def about_answer(message: Any) -> dict[str, Any]:
    """Attributes of a model's answer. `message` may be None, or have no metadata."""
    response = getattr(message, "response_metadata", None) or {}
    used = getattr(message, "usage_metadata", None) or {}
    read = used.get("input_token_details") or {}
    wrote = used.get("output_token_details") or {}
    reason = response.get("finish_reason") or response.get("stop_reason")
    found = {
        "gen_ai.response.id": getattr(message, "id", None),
        "gen_ai.response.model": response.get("model_name") or response.get("model"),
        "gen_ai.response.finish_reasons": [str(reason)] if reason else None,
        "gen_ai.usage.input_tokens": used.get("input_tokens"),
        "gen_ai.usage.output_tokens": used.get("output_tokens"),
        "gen_ai.usage.cache_read.input_tokens": read.get("cache_read"),
        "gen_ai.usage.cache_creation.input_tokens": read.get("cache_creation"),
        "gen_ai.usage.reasoning.output_tokens": wrote.get("reasoning"),
    }
    return {name: value for name, value in found.items() if value is not None}


def messages_json(messages: Sequence[BaseMessage]) -> str:
    """Messages in the JSON form of the conventions."""
    return json.dumps(list(map(_message, messages)), default=str)


def _message(message: BaseMessage) -> dict[str, Any]:
    role = ROLES.get(message.type, message.type)
    if isinstance(message, ToolMessage):
        answer = {"id": message.tool_call_id, "response": message.content}
        return {"role": role, "parts": [{"type": "tool_call_response", **answer}]}
    parts: list[dict[str, Any]] = []
    content = message.content
    for one in [content] if isinstance(content, str) else content:
        if one:
            part = {"type": "text", "content": one}
            parts.append(one if isinstance(one, dict) else part)
    parts += [
        {
            "type": "tool_call",
            "id": call["id"],
            "name": call["name"],
            "arguments": call["args"],
        }
        for call in getattr(message, "tool_calls", ())
    ]
    return {"role": role, "parts": parts}
