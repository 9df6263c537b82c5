"""Typical handlers, which take the bearer token as the caller's name."""

from __future__ import annotations

from typing import Any

from django.test import Client as Browser

# The bearer token is the caller's name.
BY_NAME = """
@auth.authenticate
async def authenticate(authorization: str | None) -> Any:
    if not authorization:
        raise Auth.exceptions.HTTPException(status_code=401, detail="Who are you?")
    name = authorization.removeprefix("Bearer ")
    return {"identity": name, "permissions": ["run"], "team": "red"}
"""
OWNERS = (
    BY_NAME
    + """
@auth.on
async def own(ctx, value):
    mine = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(mine)
    return mine
"""
)


def call(
    name: str | None, method: str, path: str, body: Any = None, **headers: str
) -> Any:
    if name:
        headers["Authorization"] = f"Bearer {name}"
    data = {} if method == "get" else {"data": body or {}}
    send = getattr(Browser(headers=headers, raise_request_exception=False), method)
    return send(path, content_type="application/json", **data)
