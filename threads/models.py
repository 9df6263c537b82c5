"""Threads: a conversation's newest state, in a row that lists and filters well.

The truth of a thread's state is its checkpoints; `values`, `interrupts`, `error` and
`status` are a cache of the newest one, written in the transaction that ends a run.
"""

from __future__ import annotations

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
        """Also the caller's temporary threads whose run has just ended."""
        return self.filter(scope.rows)

    def in_order(self, field: str, *, descending: bool) -> ThreadQuerySet:
        """In the order of an index, forwards or backwards, ties included."""
        if field == "status":
            rows = self.order_by("status", "-created_at", "id")
            return rows.reverse() if descending else rows
        rows = self.order_by(f"-{field}", "id")
        return rows if descending else rows.reverse()


def _visible_index(name: str, *fields: str) -> models.Index:
    """Without discarded threads, of which every stateless run leaves one."""
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
    # What `status` goes back to once no run is active.
    resting_status = models.TextField(
        choices=Status.choices, default=Status.IDLE, editable=False
    )
    metadata = JSONField(default=dict)
    config = JSONField(default=dict)
    values = JSONField(null=True, blank=True)
    # Task id -> list of {"id", "value", "response_schema"}. None until a run ended.
    interrupts = JSONField(null=True, blank=True)
    # The ids of those tasks in their order, which `jsonb` does not keep. None: one at most.
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
    # A temporary thread whose run has ended: gone for lists and reads, but its last
    # viewers may still fetch the result until the sweep deletes it.
    discarded_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The last number that is known to be used for an event of its runs.
    event_seq = models.BigIntegerField(db_default=0, editable=False)
    # What `priority.path` says of its runs; null until it is asked, at the first of them.
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
            # What searches sort by, for one owner and for all (by id, the
            # primary key does). Those of `status` also serve who filters by it.
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
    """A thread's `interrupts` in the order of their tasks, which Postgres does not keep."""
    if not interrupts or not order:
        return interrupts
    known = [task for task in order if task in interrupts]
    return {task: interrupts[task] for task in [*known, *interrupts]}


class SweptThreads(models.Model):
    """How many threads the sweep has removed, ever: a figure for the metrics."""

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
