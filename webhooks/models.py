"""The outbox of webhooks, with the deliveries of ended runs; and the push notification
configurations of A2A tasks.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from spool.database.fields import JSONField
from spool.database.ids import uuid7


class WebhookDelivery(models.Model):
    """An outbox row: written in the transaction that ends the run, sent by a task."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No foreign keys: a delivery outlives a temporary thread and its run.
    run_id = models.UUIDField(db_index=True)
    thread_id = models.UUIDField()
    url = models.TextField()
    # Empty for a push configuration, whose payload is rendered on sending.
    payload = JSONField()
    push_config_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    # Null when the delivery was delivered or given up.
    next_attempt_at = models.DateTimeField(null=True, blank=True, db_default=Now())
    attempts = models.IntegerField(default=0)
    # The number of attempts before an operator sent the delivery again.
    earlier_attempts = models.IntegerField(db_default=0)
    delivered_at = models.DateTimeField(null=True, blank=True)
    last_status = models.IntegerField(null=True, blank=True)
    last_error = models.TextField(default="", blank=True)
    # The last attempts, see `spool.webhooks.attempts`.
    recorded = JSONField(
        default=list, db_default=Value([], JSONField()), blank=True, editable=False
    )
    # If there is no payload: the beginning of each sent body, by the attempt's number.
    # Not in `recorded`, since processes of the version before don't accept other keys.
    sent_bodies = JSONField(null=True, blank=True, editable=False)
    # The trace context of the run, see `telemetry.traces`.
    trace_context = JSONField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "webhook_deliveries"
        verbose_name_plural = "webhook deliveries"
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                name="webhook_deliveries_due",
                condition=Q(next_attempt_at__isnull=False),
            ),
            models.Index(fields=["thread_id"], name="webhook_deliveries_thread"),
            models.Index(fields=["-created_at"], name="webhook_deliveries_newest"),
            models.Index(
                fields=["-created_at"],
                name="webhook_deliveries_given_up",
                condition=Q(next_attempt_at__isnull=True, delivered_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"webhook of run {self.run_id}"

    @property
    def total_attempts(self) -> int:
        """The number of attempts, including those before it was sent again."""
        return self.earlier_attempts + self.attempts


class PushConfig(models.Model):
    """A push notification configuration of an A2A task.

    Each end of a run of the task adds a row for it to the outbox.
    """

    class Protocol(models.TextChoices):  # The protocol whose payloads the client reads.
        V1_0 = "1.0"
        V0_3 = "0.3"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No foreign keys: this app does not depend on threads and runs.
    thread_id = models.UUIDField(db_index=True)
    first_run_id = models.UUIDField()
    # The id that the client uses for the configuration.
    config_id = models.TextField()
    url = models.TextField()
    protocol = models.TextField(choices=Protocol.choices)
    # Token and credentials as JSON, see `spool.webhooks.secrets`.
    secrets = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "push_configs"
        constraints = [
            models.UniqueConstraint(
                fields=["first_run_id", "config_id"], name="one_push_config_per_id"
            )
        ]

    def __str__(self) -> str:
        return f"push configuration {self.config_id}"
