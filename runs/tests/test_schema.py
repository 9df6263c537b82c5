"""Responses about runs match their description.

Those that wait for a worker are checked in `tests/compat/test_described.py`.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from spool.assistants.services import (
    register_system_assistants,
    system_assistant_id,
)
from spool.runs.models import Run, RunAttempt, RunStep
from spool.threads.models import Thread
from spool.usage.tokens import Tokens
from spool.web.tests.described import conforms, schema, tried

ONE = UUID(int=1)

ours = (
    schema.include(path_regex=r"/runs(/|$)")
    .exclude(path_regex=r"/crons")
    .exclude(path_regex=r"/(stream|wait|join)$")
)

# Requests may close the connection, which would end the transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)


@ours.parametrize()
@tried(times=12)
def test_what_is_documented_is_what_happens(case: Any) -> None:
    check(case)


@pytest.mark.long
@ours.parametrize()
@tried(times=200, edges=True)
def test_what_is_documented_is_what_happens_each_time(case: Any) -> None:
    check(case)


def check(case: Any) -> None:
    thread, _ = Thread.objects.get_or_create(pk=ONE)
    if not Run.objects.filter(pk=ONE).exists():
        make_run(thread)
    if case.query:
        case.query.pop("wait", None)  # It would wait on the event loop.
    for body in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(body, dict) and "assistant_id" in body:
            body["assistant_id"] = "echo"  # No generated text is an assistant.
    conforms(case, {"run_id": ONE, "thread_id": ONE})


def make_run(thread: Thread) -> None:
    """A run that has failed, with its record."""
    register_system_assistants()
    now, failure = timezone.now(), {"error": "ValueError", "message": "no"}
    times = {"started_at": now, "ended_at": now}
    Run.objects.create(
        id=ONE,
        thread=thread,
        assistant_id=system_assistant_id("echo"),
        graph_id="echo",
        status=Run.Status.ERROR,
        error=failure,
        **times,
    )
    record = {"run_id": ONE, "attempt": 1, "error": failure}
    RunAttempt.objects.create(
        **record,
        graph_id="echo",
        queued_at=now,
        outcome=RunAttempt.Outcome.ERROR,
        **times,
    )
    RunStep.objects.create(
        **record,
        number=0,
        slot=0,
        node="a",
        outcome=RunStep.Outcome.ERROR,
        started_at=now,
        duration_ms=1.5,
        tokens={"fake": Tokens(calls=1, input=2, output=3).as_json()},
        tools=[{"name": "search", "duration_ms": 1.5, "outcome": "success"}],
    )
