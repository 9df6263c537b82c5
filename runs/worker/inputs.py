"""Builds the arguments of a graph: its input or command, and its config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers import LangChainTracer
from langsmith.utils import tracing_is_enabled

from spool.access.users import User
from spool.assistants.configurable import of_client, without_auth
from spool.runs.lifecycle import Claim
from spool.runs.models import Run
from spool.runs.run_request import RunKwargs
from spool.threads.commands import command_of
from spool.web import request_ids

# langgraph's own switch: a resume that answers no waiting interrupt is an error.
STRICT_RESUME = "__pregel_strict_resume"
# langgraph recognizes interrupt ids by the same form.
INTERRUPT_ID = re.compile("[0-9a-f]{32}")


def graph_input(kwargs: RunKwargs) -> Any:
    """The run's command if it has one, otherwise its input."""
    command = command_of(kwargs.command or {})
    return kwargs.input if command is None else command


def answered_interrupts(kwargs: RunKwargs) -> list[str]:
    """The ids of the interrupts that the run answers; empty if it names none."""
    resume = (kwargs.command or {}).get("resume")
    if isinstance(resume, dict) and all(map(INTERRUPT_ID.fullmatch, resume)):
        return list(resume)
    return []


def config_of_newest_run(thread_id: UUID, graph_id: str) -> RunnableConfig | None:
    """The config of this graph's newest run on a thread. None if it has none there."""
    runs = Run.objects.filter(thread=thread_id, graph_id=graph_id)
    newest = runs.newest_first().first()
    return graph_config(newest) if newest else None


def graph_config(held: Claim | Run) -> RunnableConfig:
    """The config that nodes see; see the wire contract, section 5.1."""
    kwargs = _kwargs(held)
    config: RunnableConfig = {
        "run_id": held.id,
        "run_name": held.graph_id,
        "configurable": _configurable(held, kwargs),
        "metadata": {
            **without_auth({**(kwargs.config.get("metadata") or {}), **held.metadata}),
            "run_id": str(held.id),
            "run_attempt": held.attempt,
            "langgraph_version": settings.LANGGRAPH_VERSION,
            "langgraph_api_version": settings.VERSION,
            "langgraph_plan": "self-hosted",
            "langgraph_host": "self-hosted",
            "langgraph_api_url": f"http://{settings.HOST}:{settings.PORT}",
        },
    }
    for key in ("tags", "recursion_limit", "max_concurrency", "run_name"):
        if kwargs.config.get(key):
            config[key] = kwargs.config[key]
    if tracer := _tracer(kwargs.langsmith_tracer):
        config["callbacks"] = [tracer]
    return config


def _kwargs(held: Claim | Run) -> RunKwargs:
    if isinstance(held, Claim):
        return held.kwargs
    return RunKwargs.from_json(held.kwargs)


def _configurable(held: Claim | Run, kwargs: RunKwargs) -> dict[str, Any]:
    """The keys of `configurable`: the client's, and those that only the server sets."""
    own = kwargs.config.get("configurable") or {}
    context = {k: v for k, v in kwargs.context.items() if k != request_ids.IN_RUNS}
    user = held.user or {}
    identity = user.get("identity", "")
    # Clients may set `user_id` to tell their users apart, even with a single API key.
    configurable = {"user_id": identity, **of_client({**context, **own})}
    configurable |= {
        "run_id": str(held.id),
        "thread_id": str(held.thread_id),
        "graph_id": held.graph_id,
        "assistant_id": str(held.assistant_id),
        "langgraph_auth_user": User(user) if user else None,
        "langgraph_auth_user_id": identity,
        "langgraph_auth_permissions": user.get("permissions", []),
    }
    if kwargs.strict_resume:
        configurable[STRICT_RESUME] = True
    return configurable


def kept_with_checkpoints(config: RunnableConfig) -> dict[str, Any]:
    """The metadata of checkpoints, to filter history by.

    Other configurable keys are left out, since they may be secret.
    """
    names = ("thread_id", "user_id", "langgraph_auth_user_id", request_ids.IN_RUNS)
    configurable = config["configurable"]
    kept = {name: configurable[name] for name in names if name in configurable}
    # The client's metadata takes precedence: it may contain another `user_id`.
    return kept | config["metadata"]


def _tracer(tracing: Mapping[str, str] | None) -> LangChainTracer | None:
    """A LangSmith tracer for the client's project; None if tracing is off."""
    if not tracing or not tracing_is_enabled():
        return None
    return LangChainTracer(
        project_name=tracing.get("project_name"), example_id=tracing.get("example_id")
    )
