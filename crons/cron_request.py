"""Requests for crons, as they are passed from the serializers to the services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from spool.crons.creator import Creator
from spool.runs.run_request import RunRequest

# The only change that can't create more runs.
STOPS = {"enabled": False}
# Changes to only these fields don't change the runs of a cron. Nor do changes to these
# and to the metadata change whether a run can be created.
TIMING = {"schedule", "timezone", "end_time", "enabled", "catch_up"}
HARMLESS = {*TIMING, "metadata"}


@dataclass(frozen=True, slots=True)
class Timing:
    """When a cron fires."""

    schedule: str
    timezone: str | None = None
    end_time: datetime | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class CronRequest:
    """A validated request for a cron: when it fires, and the request of its runs."""

    timing: Timing
    run: RunRequest
    catch_up: str
    on_run_completed: str | None = None


@dataclass(frozen=True, slots=True)
class AllowedCron:
    """A cron that the policy allows.

    `payload` is the request as the client sent it, with the policy's changes; the cron
    stores and shows it.
    """

    id: UUID
    thread_id: UUID | None
    request: CronRequest
    payload: Mapping[str, Any]
    creator: Creator


@dataclass(frozen=True, slots=True)
class CronChanges:
    """The fields of a cron that a client sent, which replace the stored ones.

    `metadata` is merged into the cron's; it has the policy's stamp.
    """

    fields: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def only_stop(self) -> bool:
        return self.fields == STOPS

    @property
    def keep_runs(self) -> bool:
        """Whether the runs can be created as before."""
        return not self.fields.keys() - HARMLESS
