"""Authorize requests for crons by the policy.

A cron's creator must be allowed to create the cron, and the runs that it will create.
To change a cron, or to run it now, callers must be allowed to create its runs as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from rest_framework.request import Request

from spool.access.policy import authorize
from spool.crons.creator import Creator
from spool.crons.cron_request import AllowedCron, CronChanges, CronRequest
from spool.crons.models import Cron
from spool.crons.services import changed_metadata, changed_request, run_request
from spool.database.ids import uuid7
from spool.runs.requests import KWARGS, allow_runs
from spool.runs.run_request import AllowedRun, RunRequest


def allow_cron(
    http: Request,
    request: CronRequest,
    thread_id: UUID | None,
    payload: Mapping[str, Any],
) -> AllowedCron:
    """The cron for `create_cron`, if the policy allows it. Raises 403, for example.

    The policy's stamps are all written to the same metadata, which the runs get, too.
    """
    cron_id = uuid7()
    value = {
        "payload": payload,
        "schedule": request.timing.schedule,
        "cron_id": cron_id,
        "thread_id": thread_id,
        "user_id": None,
        "end_time": request.timing.end_time,
        "metadata": request.run.metadata,
    }
    allowed = authorize(http, "crons.create", value).value
    run = replace(request.run, metadata=allowed["metadata"])
    runs = allow_runs(http, run, thread_id)
    return AllowedCron(
        id=cron_id,
        thread_id=thread_id,
        request=replace(request, run=runs.request),
        payload={**allowed["payload"], **_changed_by_policy(run, runs.request)},
        creator=_creator(runs),
    )


def allow_changed_runs(
    http: Request, cron: Cron, changes: CronChanges
) -> tuple[CronChanges, Creator]:
    """The changes as the policy allows them, and the caller as a creator of runs."""
    metadata = changed_metadata(cron, changes.metadata)
    run = replace(changed_request(cron, changes).run, metadata=metadata)
    runs = allow_runs(http, run, cron.thread_id)
    by_policy = _changed_by_policy(run, runs.request)
    allowed = CronChanges(
        # Change only fields and keys that the client sent: others are the creator's.
        fields={key: by_policy.get(key, item) for key, item in changes.fields.items()},
        # Clients can't forge a stamp.
        metadata={
            key: runs.request.metadata[key]
            for key in changes.metadata.keys() & runs.request.metadata.keys()
        },
    )
    return allowed, _creator(runs)


def allow_run_now(http: Request, cron: Cron) -> Creator:
    """The caller as a creator of the cron's runs, if the policy allows a run now."""
    return _creator(allow_runs(http, run_request(cron), cron.thread_id))


def _creator(runs: AllowedRun) -> Creator:
    return Creator(
        threads=runs.scope,
        assistants=runs.assistants or runs.scope,
        configurable=runs.request.added_configurable,
    )


def _changed_by_policy(before: RunRequest, after: RunRequest) -> dict[str, Any]:
    """The fields of a run that a handler has changed."""
    return {
        name: getattr(after, name)
        for name in KWARGS
        if getattr(after, name) != getattr(before, name)
    }
