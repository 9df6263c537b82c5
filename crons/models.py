"""Crons: runs that start by the clock, and a record of each time that one did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from spool.access.owner import owner_column
from spool.access.policy import Scope
from spool.database.fields import JSONField
from spool.database.ids import uuid7
from spool.runs.models import Run


class CronQuerySet(models.QuerySet["Cron"]):
    def visible_to(self, scope: Scope) -> CronQuerySet:
        return self.filter(scope.rows)

    def due(self, now: datetime) -> CronQuerySet:
        return self.filter(enabled=True, next_run_date__lte=now)


class Cron(models.Model):
    class OnRunCompleted(models.TextChoices):
        DELETE = "delete"
        KEEP = "keep"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No foreign keys: a cron whose assistant or thread is gone stays, and says so.
    assistant_id = models.UUIDField(db_index=True)
    thread_id = models.UUIDField(null=True, blank=True, db_index=True)
    schedule = models.TextField()
    # An IANA name; null is UTC.
    timezone = models.TextField(null=True, blank=True)  # noqa: DJ001 - null on the wire
    # The request as it came: the body of each of its runs.
    payload = JSONField(default=dict)
    metadata = JSONField(default=dict)
    # Null for the crons of a thread, which stays.
    on_run_completed = models.TextField(  # noqa: DJ001 - null on the wire
        choices=OnRunCompleted.choices, null=True, blank=True
    )
    enabled = models.BooleanField(default=True)
    # Why Spool, and not its owner, has disabled it.
    disabled_reason = models.TextField(default="", blank=True)
    end_time = models.DateTimeField(null=True, blank=True)
    next_run_date = models.DateTimeField(null=True, blank=True)
    # What becomes of slots that nothing was there to fire: `once`, `skip`, or the largest
    # number of them to fire.
    catch_up = models.TextField(blank=True, db_default="once")
    # Slots that nobody was there to fire.
    missed = models.IntegerField(default=0)
    # Who its runs are for, see `crons.creator`.
    creator = JSONField(default=dict)
    user_id = models.TextField(null=True, blank=True)  # noqa: DJ001 - null on the wire
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    owner = owner_column()

    objects = CronQuerySet.as_manager()

    class Meta:
        db_table = "crons"
        constraints = [
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(next_run_date__isnull=False),
                name="enabled_cron_has_a_next_run",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_run_date"], name="crons_due", condition=Q(enabled=True)
            ),
            models.Index(fields=["owner", "-created_at", "id"], name="crons_by_owner"),
            models.Index(fields=["-created_at", "id"], name="crons_by_created"),
            GinIndex(
                fields=["metadata"],
                name="crons_metadata",
                opclasses=["jsonb_path_ops"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.schedule} ({self.id})"


class CronFiringQuerySet(models.QuerySet["CronFiring"]):
    def newest_first(self) -> CronFiringQuerySet:
        return self.order_by("-fired_at", "-id")


class CronFiring(models.Model):
    """One time that a cron fired, or should have."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    cron = models.ForeignKey(Cron, on_delete=models.CASCADE, related_name="firings")
    # When it was due; null where somebody asked for a run now.
    slot = models.DateTimeField(null=True, blank=True)
    fired_at = models.DateTimeField(db_default=Now())
    # Later slots that this firing stands for, since nobody was there to fire them.
    missed = models.IntegerField(default=0)
    # No foreign key: a stateless run goes with its thread, its result stays here.
    run_id = models.UUIDField(null=True, blank=True)
    thread_id = models.UUIDField(null=True, blank=True)
    # As last seen by the tick; empty if the run was deleted before its end was seen.
    status = models.TextField(choices=Run.Status.choices, blank=True)
    error = models.TextField(default="", blank=True)

    objects = CronFiringQuerySet.as_manager()

    class Meta:
        db_table = "cron_firings"
        constraints = [
            # Whoever ticks: a slot fires once.
            models.UniqueConstraint(fields=["cron", "slot"], name="one_firing_per_slot")
        ]
        indexes = [
            models.Index(
                fields=["cron", "-fired_at", "-id"], name="cron_firings_by_cron"
            ),
            models.Index(fields=["fired_at"], name="cron_firings_by_age"),
            models.Index(
                fields=["run_id"],
                name="cron_firings_active",
                condition=Q(status__in=["pending", "running"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cron_id} at {self.slot or self.fired_at}"

    @property
    def lateness(self) -> float | None:
        """Seconds from the slot to the run's creation."""
        if self.slot is None:
            return None
        seconds: Any = (self.fired_at - self.slot).total_seconds()
        return float(seconds)
