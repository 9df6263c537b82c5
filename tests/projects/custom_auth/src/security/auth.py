"""Tokens of two users, and rows that only their owners see."""

from __future__ import annotations

from typing import Any

from langgraph_sdk import Auth

USERS = {
    "user1-token": {"id": "user1", "plan": "free"},
    "user2-token": {"id": "user2", "plan": "paid"},
}

auth = Auth()


@auth.authenticate
async def get_current_user(
    authorization: str | None, headers: dict[bytes, bytes]
) -> Auth.types.MinimalUserDict:
    if not authorization:
        raise Auth.exceptions.HTTPException(status_code=401, detail="No token")
    scheme, token = authorization.split()
    assert scheme.lower() == "bearer"
    if token not in USERS:
        raise Auth.exceptions.HTTPException(status_code=401, detail="Invalid token")
    user = USERS[token]
    return {"identity": user["id"], "plan": user["plan"]}  # type: ignore[typeddict-unknown-key]


@auth.on
async def add_owner(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    filters = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(filters)
    return filters


@auth.on.assistants
async def no_assistants(ctx: Auth.types.AuthContext, value: Any) -> None:
    if ctx.action not in ("read", "search"):
        raise Auth.exceptions.HTTPException(status_code=403, detail="Not allowed")


@auth.on.store()
async def authorize_store(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    namespace: tuple[str, ...] = value["namespace"]
    assert namespace[0] == ctx.user.identity, "Not authorized"
