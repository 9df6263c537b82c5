"""Crons, which create runs on a schedule, and a record of their firings."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Self

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from spool.access.owner import owner_column
from spool.access.policy import Scope
from spool.database.fields import JSONField, OrderedJSONField
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
    # No foreign keys: a cron without its assistant or thread is kept, with a reason.
    assistant_id = models.UUIDField(db_index=True)
    thread_id = models.UUIDField(null=True, blank=True, db_index=True)
    schedule = models.TextField()
    # An IANA name; null is UTC.
    timezone = models.TextField(null=True, blank=True)  # noqa: DJ001 - null on the wire
    # The request as sent by the client: the body of each run.
    payload = JSONField(default=dict)
    # A copy of the parts of `payload` that graphs get, which keeps the order of keys. It
    # is used as long as both are equal: older processes only change `payload`.
    given = OrderedJSONField(null=True, blank=True, editable=False)
    metadata = JSONField(default=dict)
    # Null for crons of a thread, since the thread is always kept.
    on_run_completed = models.TextField(  # noqa: DJ001 - null on the wire
        choices=OnRunCompleted.choices, null=True, blank=True
    )
    enabled = models.BooleanField(default=True)
    # Why Spool has disabled the cron; empty if its owner has.
    disabled_reason = models.TextField(default="", blank=True)
    end_time = models.DateTimeField(null=True, blank=True)
    next_run_date = models.DateTimeField(null=True, blank=True)
    # What to do with slots that were missed in an outage: `once`, `skip`, or the
    # maximum number of them to fire.
    catch_up = models.TextField(blank=True, db_default="once")
    # The number of slots that were missed in outages.
    missed = models.IntegerField(default=0)
    # The user and scopes of its runs, see `crons.creator`.
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

    @classmethod
    def from_db(
        cls,
        db: str | None,
        field_names: Collection[str],
        values: Collection[Any],
        **more: Any,
    ) -> Self:
        """Give `payload` the order of keys of `given`."""
        cron = super().from_db(db, field_names, values, **more)
        if "payload" in cron.__dict__:
            ordered = {
                name: value
                for name, value in (cron.given or {}).items()
                if name in cron.payload and cron.payload[name] == value
            }
            cron.payload = {**cron.payload, **ordered}
        return cron


class CronFiringQuerySet(models.QuerySet["CronFiring"]):
    def newest_first(self) -> CronFiringQuerySet:
        return self.order_by("-fired_at", "-id")


class CronFiring(models.Model):
    """A slot that a cron has fired, or failed to fire."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    cron = models.ForeignKey(
        Cron,
        on_delete=models.CASCADE,
        related_name="firings",
        db_index=False,  # `cron_firings_by_cron` covers it.
    )
    # When it was due; null for a run that was requested with "run now".
    slot = models.DateTimeField(null=True, blank=True)
    fired_at = models.DateTimeField(db_default=Now())
    # The number of missed later slots that this firing stands for.
    missed = models.IntegerField(default=0)
    # No foreign key: stateless runs are deleted with their thread; the result is kept.
    run_id = models.UUIDField(null=True, blank=True)
    thread_id = models.UUIDField(null=True, blank=True)
    # Copied by the tick; empty if the run was deleted before its end was recorded.
    status = models.TextField(choices=Run.Status.choices, blank=True)
    error = models.TextField(default="", blank=True)

    objects = CronFiringQuerySet.as_manager()

    class Meta:
        db_table = "cron_firings"
        constraints = [
            # A slot fires once, even if several processes tick.
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
