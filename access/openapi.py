"""Authentication in `/openapi.json`, so that its page has a field for a key."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from spool.config.access_mode import has_handlers, is_open
from spool.config.langgraph_json import langgraph_json

BUILT_IN = {
    "api_key": {"ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
    "jwt": {"Token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
}


def name_security(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """A hook of drf-spectacular; `auth.openapi` in langgraph.json overrides it."""
    if is_open():
        return result
    given = security()
    components = result.setdefault("components", {})
    schemes = components.setdefault("securitySchemes", {})
    schemes |= given.get("securitySchemes", {})
    if "security" in given:
        result["security"] = given["security"]
    for path, operations in given.get("paths", {}).items():
        for method, operation in operations.items():
            if method in result["paths"].get(path, {}):
                result["paths"][path][method] |= operation
    return result


def security() -> dict[str, Any]:
    """OpenAPI's `securitySchemes` and `security`."""
    return langgraph_json().auth.openapi if has_handlers() else _built_in()


def _built_in() -> dict[str, Any]:
    schemes = {
        name: scheme
        for kind in settings.AUTH
        for name, scheme in BUILT_IN.get(kind, {}).items()
    }
    return {"securitySchemes": schemes, "security": [{name: []} for name in schemes]}
