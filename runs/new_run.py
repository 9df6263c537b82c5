"""Builds the run that is stored for a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spool.assistants.configurable import FORK_POINT
from spool.assistants.models import Assistant
from spool.assistants.services import mirror_context
from spool.database.ids import uuid7
from spool.runs import queue
from spool.runs.lifecycle import NewRun
from spool.runs.models import Run
from spool.runs.priority import ThreadPriority
from spool.runs.run_request import AllowedRun, RunKwargs, RunRequest
from spool.web import request_ids

# The parts of a run's config that its thread keeps.
KEPT_IN_THREAD = ("tags", "recursion_limit", "metadata")


def run_kwargs(run: AllowedRun, assistant: Assistant) -> RunKwargs:
    """Build the run's `kwargs`. Raises 400 for a request that contradicts itself."""
    request = run.request
    config, context = _merged_config(assistant, request)
    return RunKwargs(
        input=request.input,
        command=request.command,
        config=config,
        context=context,
        stream_mode=request.stream_mode,
        interrupt_before=request.interrupt_before,
        interrupt_after=request.interrupt_after,
        webhook=request.webhook,
        feedback_keys=request.feedback_keys,
        temporary=run.thread_id is None and request.on_completion == "delete",
        subgraphs=request.stream_subgraphs,
        resumable=request.stream_resumable,
        durability=request.durability,
        langsmith_tracer=request.langsmith_tracer,
        strict_resume=request.strict_resume,
        is_event_streaming=request.is_event_streaming,
        ends_with_client=request.ends_with_client,
        reply_to=request.reply_to,
    )


def new_run(
    run: AllowedRun,
    assistant: Assistant,
    kwargs: RunKwargs,
    priority: ThreadPriority | None,
) -> NewRun:
    """Build the run to store, on a new thread if the request has none."""
    request, scope = run.request, run.scope
    place = queue.place(scope.owner, request.metadata, run.run_class, priority)
    named = {"graph_id": assistant.graph_id, "assistant_id": str(assistant.id)}
    metadata = {**(request.config.get("metadata") or {}), **request.metadata}
    return NewRun(
        id=run.run_id,
        thread_id=run.thread_id or uuid7(),
        assistant_id=assistant.id,
        graph_id=assistant.graph_id,
        kwargs=kwargs,
        metadata={**named, **metadata},
        assistant_metadata=assistant.metadata,
        thread_metadata=named,
        thread_config={**assistant.config, **_thread_config(request.config)},
        multitask_strategy=request.multitask_strategy,
        is_temporary=kwargs.temporary,
        owner=scope.owner,
        user=scope.user,
        run_class=run.run_class,
        api_key_id=scope.api_key_id,
        first_run_id=run.first_run_id,
        resumes=request.resumes,
        after_seconds=request.after_seconds,
        fairness_group=place.fairness_group,
        queue_rank=place.queue_rank,
    )


def run_again(run: Run) -> NewRun:
    """Build a new run like one that has ended, on the same thread."""
    return NewRun(
        id=uuid7(),
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        graph_id=run.graph_id,
        kwargs=replace(RunKwargs.from_json(run.kwargs), reply_to=None),
        metadata=run.metadata,
        owner=run.owner,
        user=run.user,
        run_class=run.run_class or Run.RunClass.BACKGROUND,
        api_key_id=run.api_key_id,
        first_run_id=run.first_run_id,
        fairness_group=run.fairness_group,
        queue_rank=run.queue_rank,
    )


def _merged_config(
    assistant: Assistant, request: RunRequest
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Merge the request's config and context over the assistant's."""
    config, context = mirror_context(request.config, request.context)
    base = assistant.config
    configurable = {
        **(base.get("configurable") or {}),
        **(config.get("configurable") or {}),
        **_fork_point(request),
        **request.added_configurable,
    }
    if request.cron_id:
        configurable["cron_id"] = str(request.cron_id)
    # The real request id, even if the client sends another.
    configurable.pop(request_ids.IN_RUNS, None)
    if request.request_id:
        configurable[request_ids.IN_RUNS] = request.request_id
    own = {key: value for key, value in config.items() if value is not None}
    merged = {**base, **own, "configurable": configurable}
    return merged, {**assistant.context, **context}


def _fork_point(request: RunRequest) -> dict[str, Any]:
    checkpoint = request.checkpoint or {}
    point = {
        key: checkpoint[key] for key in FORK_POINT if checkpoint.get(key) is not None
    }
    if request.checkpoint_id:
        point["checkpoint_id"] = str(request.checkpoint_id)
    return point


def _thread_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: config[name] for name in KEPT_IN_THREAD if config.get(name) is not None
    }
