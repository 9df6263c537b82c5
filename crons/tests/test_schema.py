"""Responses about crons match their description."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from spool.access.policy import EVERYTHING
from spool.assistants.services import (
    register_system_assistants,
    system_assistant_id,
)
from spool.crons.creator import Creator
from spool.crons.models import Cron, CronFiring
from spool.threads.models import Thread
from spool.web.tests.described import conforms, schema, tried

ONE = UUID(int=1)

ours = schema.include(path_regex=r"/runs/crons")

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
    if not Cron.objects.filter(pk=ONE).exists():
        register_system_assistants()
        cron = Cron.objects.create(
            id=ONE,
            assistant_id=system_assistant_id("echo"),
            schedule="0 0 1 1 *",
            creator=Creator(EVERYTHING, EVERYTHING).as_json(),
            payload={
                "assistant_id": "echo",
                "config": {"configurable": {"cron_id": str(ONE)}},
            },
            next_run_date=timezone.now(),
        )
        CronFiring.objects.create(cron=cron, slot=timezone.now())
    Thread.objects.get_or_create(pk=ONE)
    if isinstance(case.body, dict) and "schedule" in case.body:
        # Almost no generated text is a schedule, or an assistant.
        case.body["schedule"] = "0 0 1 1 *"
        case.body["assistant_id"] = "echo"
    conforms(case, {"cron_id": ONE, "thread_id": ONE})
