"""Totals of usage, which outlive the runs that they come from, and budgets."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from spool.database.ids import uuid7


class UsageTotalQuerySet(models.QuerySet["UsageTotal"]):
    def of_owner(self, owner: str) -> UsageTotalQuerySet:
        return self.filter(owner=owner)


class UsageTotal(models.Model):
    """One counter of one process (see `usage.meter`), or several that were merged.

    No foreign keys: usage stays when runs, keys or assistants are deleted.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The identity that created the run; "" without authentication.
    owner = models.TextField(default="", blank=True)
    api_key_id = models.UUIDField(null=True, blank=True)
    assistant_id = models.UUIDField()
    graph_id = models.TextField()
    revision = models.TextField(default="", blank=True)
    # The node of the innermost graph; "" for a call outside of all nodes.
    node = models.TextField(default="", blank=True)
    provider = models.TextField(default="", blank=True)
    model = models.TextField(default="", blank=True)
    # The day in UTC when the model answered.
    day = models.DateField()
    calls = models.BigIntegerField(db_default=0)
    input = models.BigIntegerField(db_default=0)
    output = models.BigIntegerField(db_default=0)
    cached = models.BigIntegerField(db_default=0)
    cache_written = models.BigIntegerField(db_default=0)
    reasoning = models.BigIntegerField(db_default=0)

    objects = UsageTotalQuerySet.as_manager()

    class Meta:
        db_table = "usage_totals"
        indexes = [
            models.Index(fields=["owner", "day"], name="usage_totals_by_owner"),
            models.Index(fields=["day"], name="usage_totals_by_day"),
        ]

    def __str__(self) -> str:
        return f"{self.owner} {self.day} {self.model}"


class UsageRunsQuerySet(models.QuerySet["UsageRuns"]):
    def of_owner(self, owner: str) -> UsageRunsQuerySet:
        return self.filter(owner=owner)


class UsageRuns(models.Model):
    """How the runs of an owner ended in a day. Written when they are counted."""

    owner = models.TextField(default="", blank=True)
    assistant_id = models.UUIDField(null=True, blank=True)
    graph_id = models.TextField()
    revision = models.TextField(default="", blank=True)
    # The day in UTC when they ended.
    day = models.DateField()
    successful = models.BigIntegerField(db_default=0)
    failed = models.BigIntegerField(db_default=0)
    timed_out = models.BigIntegerField(db_default=0)
    interrupted = models.BigIntegerField(db_default=0)
    rolled_back = models.BigIntegerField(db_default=0)
    # The sum of their durations, from start to end.
    seconds = models.FloatField(db_default=0)

    objects = UsageRunsQuerySet.as_manager()

    class Meta:
        db_table = "usage_runs"
        verbose_name_plural = "usage runs"
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "assistant_id", "graph_id", "revision", "day"],
                name="one_count_of_runs_a_day",
                nulls_distinct=False,
            )
        ]
        indexes = [
            models.Index(fields=["owner", "day"], name="usage_runs_by_owner"),
            models.Index(fields=["day"], name="usage_runs_by_day"),
        ]

    def __str__(self) -> str:
        return f"runs of {self.owner} on {self.day}"


class Budget(models.Model):
    """How much an owner, or one of their API keys, may use in a day or a month."""

    class Period(models.TextChoices):
        DAY = "day"
        MONTH = "month"

    class Unit(models.TextChoices):
        TOKENS = "tokens"
        MONEY = "money"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Exactly one of these two is set.
    owner = models.TextField(default="", blank=True)
    api_key_id = models.UUIDField(null=True, blank=True)
    period = models.TextField(choices=Period.choices)
    unit = models.TextField(choices=Unit.choices)
    limit = models.DecimalField(max_digits=24, decimal_places=6)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "budgets"
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "api_key_id", "period", "unit"],
                name="one_budget_of_a_kind",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(owner="", api_key_id__isnull=False)
                | ~Q(owner="") & Q(api_key_id__isnull=True),
                name="budget_is_of_an_owner_or_a_key",
            ),
            models.CheckConstraint(
                condition=Q(limit__gte=0), name="budget_is_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.limit} {self.unit} a {self.period}"
