"""The usual handlers: a table of tokens, metadata for owners, and a store for each."""

from __future__ import annotations

from typing import Any

from langgraph_sdk import Auth

NAMES = ("alice", "bob", *(f"user-{number}" for number in range(50)))
TOKENS = {f"token-of-{name}": name for name in NAMES}

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme != "Bearer" or token not in TOKENS:
        raise Auth.exceptions.HTTPException(status_code=401, detail="Invalid token")
    return {"identity": TOKENS[token], "permissions": ["chat"], "plan": "free"}  # type: ignore[typeddict-unknown-key]


@auth.on
async def own(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, str]:
    mine = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(mine)
    return mine


@auth.on.assistants.delete
async def never(ctx: Auth.types.AuthContext, value: Any) -> bool:
    return False


@auth.on.store
async def scoped(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    value["namespace"] = (ctx.user.identity, *(value["namespace"] or ()))
