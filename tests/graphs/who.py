"""A graph that returns its caller, and handlers that separate rows by a UUID."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph_sdk import Auth
from typing_extensions import TypedDict

ORGANISATIONS = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> Any:
    name = (authorization or "").removeprefix("Bearer ")
    if not name:
        raise Auth.exceptions.HTTPException(status_code=401)
    if name == "unnamed":
        return {"display_name": "a user without identity"}
    return {"identity": name, "organisation": str(uuid5(ORGANISATIONS, name))}


@auth.on.threads
async def only_own(ctx: Auth.types.AuthContext, value: Any) -> Any:
    organisation = UUID(ctx.user["organisation"])
    value.setdefault("metadata", {})["organisation"] = organisation
    return {"organisation": organisation}


@auth.on.threads.create_run
async def inject(ctx: Auth.types.AuthContext, value: Any) -> None:
    config = value["kwargs"].setdefault("config", {})
    config.setdefault("configurable", {})["injected"] = "by the handler"


class State(TypedDict, total=False):
    out: dict[str, Any]


def say(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> State:
    user = config["configurable"]["langgraph_auth_user"]
    info = runtime.server_info
    return {
        "out": {
            "attribute": user.identity,
            "item": user["identity"],
            "server_info": info and info.user and info.user.identity,
            "injected": config["configurable"].get("injected"),
            "context": runtime.context,
        }
    }


who = StateGraph(State).add_node("say", say).add_edge(START, "say").compile()
