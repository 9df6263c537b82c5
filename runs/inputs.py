"""What a graph is given: its input or command, and its config."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Send

from runs.lifecycle import Claim

# Set by the server alone: a client's value would reach another thread's state, or pass
# for somebody else.
RESERVED = (
    "thread_id",
    "run_id",
    "graph_id",
    "assistant_id",
    "user_id",
    "langgraph_auth_user",
    "langgraph_auth_user_id",
    "langgraph_auth_permissions",
)


def graph_input(kwargs: dict[str, Any]) -> Any:
    """The run's input; a command wins over it."""
    command = kwargs["command"]
    if not command:
        return kwargs["input"]
    given: dict[str, Any] = {}
    if command.get("update") is not None:
        given["update"] = _update(command["update"])
    if "resume" in command:
        given["resume"] = command["resume"]
    if command.get("goto"):
        goto = command["goto"]
        given["goto"] = (
            [_goto(one) for one in goto] if isinstance(goto, list) else _goto(goto)
        )
    return Command(**given)


def graph_config(held: Claim) -> RunnableConfig:
    """The config that nodes see; see the wire contract, section 5.1."""
    asked = held.kwargs["config"]
    configurable = {
        key: value
        for key, value in {
            **held.kwargs["context"],
            **asked.get("configurable", {}),
        }.items()
        if key not in RESERVED and not key.startswith("__")
    }
    user = held.user or {}
    identity = user.get("identity", "")
    configurable |= {
        "run_id": str(held.id),
        "thread_id": str(held.thread_id),
        "graph_id": held.graph_id,
        "assistant_id": str(held.assistant_id),
        "user_id": identity,
        "langgraph_auth_user": held.user,
        "langgraph_auth_user_id": identity,
        "langgraph_auth_permissions": user.get("permissions", []),
    }
    config: RunnableConfig = {
        "run_id": held.id,
        "run_name": held.graph_id,
        "configurable": configurable,
        "metadata": {
            **held.metadata,
            "run_id": str(held.id),
            "run_attempt": held.attempt,
            "langgraph_version": settings.LANGGRAPH_VERSION,
            "langgraph_api_version": settings.VERSION,
            "langgraph_plan": "self-hosted",
            "langgraph_host": "self-hosted",
            "langgraph_api_url": f"http://{settings.HOST}:{settings.PORT}",
        },
    }
    if asked.get("tags"):
        config["tags"] = asked["tags"]
    if asked.get("recursion_limit"):
        config["recursion_limit"] = asked["recursion_limit"]
    return config


def _update(update: Any) -> Any:
    """A list of pairs is one update of several channels, some perhaps repeated."""
    pairs = isinstance(update, list) and all(
        isinstance(one, list) and len(one) == 2 and isinstance(one[0], str)
        for one in update
    )
    return [tuple(one) for one in update] if pairs else update


def _goto(goto: Any) -> str | Send:
    return goto if isinstance(goto, str) else Send(goto["node"], goto.get("input"))
