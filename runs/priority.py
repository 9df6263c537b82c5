"""`priority.path` of langgraph.json: the operator's function for priorities.

The function is called once per thread, for its first run, and the result is stored with
the thread.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from langgraph_sdk import Priority, PriorityContext
from rest_framework.exceptions import APIException

from spool.access.users import User
from spool.assistants.models import Assistant
from spool.config.env import stop
from spool.config.langgraph_json import langgraph_json
from spool.config.user_objects import load_object
from spool.database.loop import shared_loop
from spool.runs.run_request import AllowedRun
from spool.threads.models import Thread

logger = logging.getLogger(__name__)

TIMEOUT_SECS = 30.0
MAX_PRIORITY = 5
MAX_GROUP_LENGTH = 256
NO_USER = {
    "identity": "",
    "display_name": "",
    "is_authenticated": False,
    "permissions": [],
}


class PriorityRefused(APIException):
    """The function failed, or returned an invalid priority. Clients get no details."""

    status_code = 500
    default_detail = "Could not determine the priority of this run"


@dataclass(frozen=True)
class ThreadPriority:
    """-5 is the highest priority. Without a `fairness_group` the owner is the group."""

    priority: int = 0
    fairness_group: str | None = None


DEFAULTS = ThreadPriority()


@cache
def assign_function() -> Any:
    """Load the function. None if none is configured; a bad one stops the process."""
    path = langgraph_json().priority.path
    if not path:
        return None
    try:
        found = load_object(path)
    except Exception as exc:  # The operator's module may raise anything.
        stop(f"priority.path: cannot load {path}: {type(exc).__name__}: {exc}")
    if not isinstance(found, Priority):
        stop(f"priority.path: {path} is not a langgraph_sdk.Priority")
    if found._assign_handler is None:
        stop(f"priority.path: {path} has no @assign function")
    return found._assign_handler


def thread_priority(run: AllowedRun, assistant: Assistant) -> ThreadPriority | None:
    """Return the priority for the thread of a new run. Raises `PriorityRefused`.

    None if langgraph.json has no function.
    """
    assign = assign_function()
    if assign is None:
        return None
    visible = Thread.objects.visible_to(run.scope)
    thread = visible.filter(pk=run.thread_id).first() if run.thread_id else None
    if thread and thread.priority is not None:
        return ThreadPriority(thread.priority, thread.fairness_group)
    found = _ask(assign, _context(run, assistant, thread))
    if thread is None:
        return found
    return _keep(thread, found)


def _context(
    run: AllowedRun, assistant: Assistant, thread: Thread | None
) -> PriorityContext:
    metadata, cron_id = run.request.metadata, run.request.cron_id
    return PriorityContext(
        user=cast("Any", User(run.scope.user or NO_USER)),
        permissions=run.scope.permissions,
        thread_id=str(run.thread_id) if run.thread_id else None,
        thread_metadata=dict(thread.metadata if thread else metadata),
        assistant_id=str(assistant.id),
        graph_id=assistant.graph_id,
        assistant_metadata=dict(assistant.metadata),
        run_metadata=dict(metadata),
        cron_id=str(cron_id) if cron_id else None,
    )


def _ask(assign: Any, context: PriorityContext) -> ThreadPriority:
    try:
        answer = shared_loop().run(asyncio.wait_for(assign(context), TIMEOUT_SECS))
        return _checked(answer)
    except Exception as exc:
        # The operator's code may raise anything.
        logger.exception("priority.path: refusing the run")
        raise PriorityRefused from exc


def _checked(answer: Any) -> ThreadPriority:
    given = dict(answer or {})
    priority, group = given.get("priority"), given.get("fairness_group")
    priority = 0 if priority is None else priority
    is_whole = isinstance(priority, int) and not isinstance(priority, bool)
    if not is_whole or abs(priority) > MAX_PRIORITY:
        raise ValueError(f"priority must be from -5 to 5, not {priority!r}")
    if not isinstance(group, (str, type(None))) or len(group or "") > MAX_GROUP_LENGTH:
        raise ValueError("fairness_group must be a text of at most 256 characters")
    return ThreadPriority(priority, group or None)


def _keep(thread: Thread, found: ThreadPriority) -> ThreadPriority:
    """Store the priority with the thread, unless a concurrent first run already has."""
    rows = Thread.objects.filter(pk=thread.pk)
    if not rows.filter(priority=None).update(
        priority=found.priority, fairness_group=found.fairness_group
    ):
        stored = rows.values_list("priority", "fairness_group").first()
        if stored and stored[0] is not None:
            return ThreadPriority(stored[0], stored[1])
    return found
