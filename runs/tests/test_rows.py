"""The response for a run is the same whether it is read with or without an instance."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Q

from spool.access.scope import EVERYTHING, Scope
from spool.assistants.services import register_system_assistants
from spool.database.ids import uuid7
from spool.database.json import dumps
from spool.runs import rows
from spool.runs.models import Run
from spool.runs.serializers import run_json
from spool.threads.models import Thread

OWNERS = Scope("alice", rows=Q(owner="alice"), is_plain=True)
CUSTOM = Scope("alice", rows=Q(owner="alice"))

REQUESTS: dict[str, dict[str, Any]] = {
    "order": {"input": {"z": 1, "a": {"y": None, "b": [1.5, "ä"]}}},
    "config": {"config": {"tags": ["x"], "configurable": {"user_name": "eve"}}},
    "tracer": {"langsmith_tracer": {"project_name": "mine"}, "metadata": {"k": "v"}},
    "interrupts": {"interrupt_before": ["one"], "multitask_strategy": "enqueue"},
}


@pytest.fixture(autouse=True)
def assistants(db: None) -> None:
    register_system_assistants()


def sent(body: Any) -> Any:
    """The JSON that a client gets, with the order of its keys."""
    return json.loads(dumps(body), object_pairs_hook=list)


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("reason", [None, Run.BY_API])
def test_a_row_reads_like_its_instance(
    make_run: Callable[..., Run], request_name: str, reason: str | None
) -> None:
    run = make_run(**REQUESTS[request_name])
    Run.objects.filter(pk=run.pk).update(cancel_reason=reason)
    run = Run.objects.get(pk=run.pk)

    found = rows.find(EVERYTHING, run.id, run.thread_id)

    assert sent(found) == sent(run_json(run))
    assert ("cancel_reason" in (found or {})) is (reason is not None)


@pytest.mark.parametrize("scope", [OWNERS, CUSTOM], ids=["plain", "custom"])
def test_only_runs_of_visible_threads_are_found(
    make_run: Callable[..., Run], thread: Thread, scope: Scope
) -> None:
    run = Run.objects.get(pk=make_run().pk)
    Thread.objects.filter(pk=thread.pk).update(metadata={"owner": "bob"})
    others = [
        rows.find(scope, run.id, run.thread_id),
        rows.find(scope, run.id, None),
    ]
    Thread.objects.filter(pk=thread.pk).update(metadata={"owner": "alice"})
    own = [
        rows.find(scope, run.id, run.thread_id),
        rows.find(scope, run.id, None),
    ]
    elsewhere = rows.find(scope, run.id, uuid7())
    Thread.objects.filter(pk=thread.pk).update(discarded_at=run.created_at)
    discarded = rows.find(scope, run.id, run.thread_id)

    assert others == [None, None]
    assert sent(own[0]) == sent(own[1]) == sent(run_json(run))
    assert [elsewhere, discarded] == [None, None]
