"""Store items: long-term memory, shared by the threads of one owner."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from spool.database.fields import JSONField


class StoreItem(models.Model):
    owner = models.TextField(default="", blank=True)
    # The namespace's labels joined by ".", which no label contains. The C collation
    # makes a namespace and all namespaces below it one range of the index.
    path = models.TextField(db_collation="C")
    key = models.TextField()
    value = JSONField()
    # Set by clients only: a key `owner` in it has no meaning.
    metadata = JSONField(default=dict, db_default=Value({}, JSONField()), blank=True)
    # The `index` of the put: null (the configured fields), false, or paths.
    index = JSONField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    ttl_minutes = models.FloatField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "store_items"
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "path", "key"], name="one_store_item_per_key"
            )
        ]
        indexes = [
            models.Index(fields=["owner", "-updated_at"], name="store_items_newest"),
            models.Index(
                fields=["expires_at"],
                name="store_items_expiring",
                condition=Q(expires_at__isnull=False),
            ),
            GinIndex(
                fields=["value"], name="store_items_value", opclasses=["jsonb_path_ops"]
            ),
            GinIndex(
                fields=["metadata"],
                name="store_items_metadata",
                opclasses=["jsonb_path_ops"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.path} {self.key}"

    @property
    def namespace(self) -> list[str]:
        return self.path.split(".") if self.path else []
