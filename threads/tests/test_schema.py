"""Tests the API against its schema: no undocumented responses, and no 5xx."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from spool.assistants.models import Assistant
from spool.threads.models import Thread
from spool.threads.tests.running import run_graph
from spool.web.tests.described import schema, tried

CHECKS = [not_a_server_error, status_code_conformance]
ONE = UUID(int=1)

ours = schema.include(path_regex=r"^/(assistants|threads)(/|$)").exclude(
    path_regex=r"/(runs|stream|commands)"
)

# Requests may close the connection, which would end the transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)


@ours.parametrize()
@tried(times=20)
def test_what_is_documented_is_what_happens(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)

    Assistant.objects.get_or_create(pk=ONE, defaults={"graph_id": "nested"})
    thread, is_new = Thread.objects.get_or_create(
        pk=ONE, defaults={"metadata": {"graph_id": "human"}}
    )
    if is_new:
        run_graph(thread, {"topic": "t"})
    ids = {"assistant_id": str(ONE), "thread_id": str(ONE)}
    for name in case.path_parameters or ():
        case.path_parameters[name] = ids.get(name, case.path_parameters[name])
    case.call_and_validate(checks=CHECKS)
