"""Threads: the newest state of each conversation in a row, for lists and filters.

The checkpoints are the source of truth. `values`, `interrupts`, `error` and `status`
cache the newest one, and are written in the transaction that ends a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from spool.access.owner import owner_column
from spool.access.policy import Scope
from spool.database.fields import JSONField
from spool.database.ids import uuid7


class ThreadQuerySet(models.QuerySet["Thread"]):
    def visible_to(self, scope: Scope) -> ThreadQuerySet:
        return self.filter(scope.rows, discarded_at=None)

    def joinable_by(self, scope: Scope) -> ThreadQuerySet:
        """Like `visible_to`, and also temporary threads whose run has just ended."""
        return self.filter(scope.rows)

    def matching(
        self,
        metadata: Mapping[str, Any] | None,
        values: Mapping[str, Any] | None,
        status: str | None,
    ) -> ThreadQuerySet:
        """The threads that contain `metadata` and `values`. Empty filters match all."""
        filters = {
            "metadata__contains": metadata,
            "values__contains": values,
            "status": status,
        }
        return self.filter(**{name: value for name, value in filters.items() if value})

    def in_order(self, field: str, *, descending: bool) -> ThreadQuerySet:
        """Sort in the order of an index, forwards or backwards, including ties."""
        if field == "status":
            rows = self.order_by("status", "-created_at", "id")
            return rows.reverse() if descending else rows
        rows = self.order_by(f"-{field}", "id")
        return rows if descending else rows.reverse()


def _visible_index(name: str, *fields: str) -> models.Index:
    """An index without discarded threads: every stateless run leaves one."""
    visible = Q(discarded_at__isnull=True)
    return models.Index(fields=[*fields, "id"], name=name, condition=visible)


class Thread(models.Model):
    class Status(models.TextChoices):  # The wire's own words.
        IDLE = "idle"
        BUSY = "busy"
        INTERRUPTED = "interrupted"
        ERROR = "error"

    class TTLStrategy(models.TextChoices):
        DELETE = "delete"
        KEEP_LATEST = "keep_latest"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    status = models.TextField(choices=Status.choices, default=Status.IDLE)
    # The `status` that the thread will have when no run is active.
    resting_status = models.TextField(
        choices=Status.choices, default=Status.IDLE, editable=False
    )
    metadata = JSONField(default=dict)
    config = JSONField(default=dict)
    values = JSONField(null=True, blank=True)
    # Task id -> list of {"id", "value", "response_schema"}. None until a run has ended.
    interrupts = JSONField(null=True, blank=True)
    # The order of those task ids, which `jsonb` does not keep. None if there are fewer
    # than two.
    interrupt_order = JSONField(null=True, blank=True, editable=False)
    # {"error": class, "message": text} of the last run, if it failed.
    error = JSONField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    state_updated_at = models.DateTimeField(db_default=Now())
    ttl_minutes = models.FloatField(null=True, blank=True)
    ttl_strategy = models.TextField(
        choices=TTLStrategy.choices, default=TTLStrategy.DELETE
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    # Set when the run of a temporary thread has ended: lists and reads leave the thread
    # out, but clients of the run can still fetch the result until the sweep deletes it.
    discarded_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The highest event number of its runs that is known to be used.
    event_seq = models.BigIntegerField(db_default=0, editable=False)
    # The result of `priority.path`; null until it is called for the first run.
    priority = models.SmallIntegerField(null=True, blank=True)
    fairness_group = models.TextField(null=True, blank=True)  # noqa: DJ001 - as above
    owner = owner_column()

    objects = ThreadQuerySet.as_manager()

    class Meta:
        db_table = "threads"
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["idle", "busy", "interrupted", "error"]),
                name="thread_status_is_known",
            )
        ]
        indexes = [
            # For sorted searches, of one owner's threads and of all. (The primary key
            # serves the order by id.) Indexes on `status` also serve filters by status.
            _visible_index("threads_created", "-created_at"),
            _visible_index("threads_updated", "-updated_at"),
            _visible_index("threads_state_updated", "-state_updated_at"),
            _visible_index("threads_status", "status", "-created_at"),
            _visible_index("threads_owner_id", "owner"),
            _visible_index("threads_owner_created", "owner", "-created_at"),
            _visible_index("threads_owner_updated", "owner", "-updated_at"),
            _visible_index("threads_owner_state", "owner", "-state_updated_at"),
            _visible_index("threads_owner_status", "owner", "status", "-created_at"),
            models.Index(
                fields=["expires_at"],
                name="threads_expiring",
                condition=Q(expires_at__isnull=False),
            ),
            models.Index(
                fields=["discarded_at"],
                name="threads_discarded",
                condition=Q(discarded_at__isnull=False),
            ),
            GinIndex(
                fields=["metadata"],
                name="threads_metadata",
                opclasses=["jsonb_path_ops"],
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def ordered_interrupts(self) -> dict[str, Any] | None:
        """`interrupts` in the order of their tasks."""
        return ordered(self.interrupts, self.interrupt_order)


def ordered(
    interrupts: dict[str, Any] | None, order: list[str] | None
) -> dict[str, Any] | None:
    """A thread's `interrupts` in the order of their tasks, which `jsonb` loses."""
    if not interrupts or not order:
        return interrupts
    known = [task for task in order if task in interrupts]
    return {task: interrupts[task] for task in [*known, *interrupts]}


class SweptThreads(models.Model):
    """How many threads the sweep has ever removed, for the metrics."""

    class Kind(models.TextChoices):
        EXPIRED = "expired"
        PRUNED = "pruned"
        DISCARDED = "discarded"

    kind = models.TextField(primary_key=True, choices=Kind.choices)
    total = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "swept_threads"
        verbose_name_plural = "swept threads"

    def __str__(self) -> str:
        return f"{self.kind}: {self.total}"
