"""Responses about assistants and threads match their description."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spool.assistants.models import Assistant
from spool.threads.models import Thread
from spool.threads.tests.running import run_graph
from spool.web.tests.described import conforms, schema, tried

ONE = UUID(int=1)

ours = schema.include(path_regex=r"^/(assistants|threads)(/|$)").exclude(
    path_regex=r"/(runs|stream|commands)"
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
    Assistant.objects.get_or_create(pk=ONE, defaults={"graph_id": "nested"})
    thread, is_new = Thread.objects.get_or_create(
        pk=ONE, defaults={"metadata": {"graph_id": "human"}}
    )
    if is_new:
        run_graph(thread, {"topic": "t"})
    conforms(case, {"assistant_id": ONE, "thread_id": ONE})
