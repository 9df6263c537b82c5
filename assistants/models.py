"""Assistants: a graph with a configuration, and all versions of it."""

from __future__ import annotations

import uuid

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from spool.access.owner import owner_column
from spool.access.policy import Scope
from spool.database.fields import JSONField


class AssistantQuerySet(models.QuerySet["Assistant"]):
    def visible_to(self, scope: Scope) -> AssistantQuerySet:
        return self.filter(scope.rows)

    def usable_by(self, scope: Scope) -> AssistantQuerySet:
        """The assistants that the caller's runs may use, including the system's."""
        return self.filter(scope.rows | Q(is_system=True)) if scope.rows else self

    def in_order(self, field: str, *, descending: bool) -> AssistantQuerySet:
        """Sort by `field`, ties in reverse, so that one index serves both orders."""
        if field == "name":
            by_name = Lower("name")
            order = by_name.desc() if descending else by_name.asc()
            return self.order_by(order, "id" if descending else "-id")
        return (
            self.order_by(f"-{field}", "id")
            if descending
            else self.order_by(field, "-id")
        )


class Configured(models.Model):
    """The fields that assistants and their versions share."""

    graph_id = models.TextField()
    version = models.IntegerField(default=1)
    name = models.TextField(default="Untitled")
    description = models.TextField(null=True, blank=True)  # noqa: DJ001 - null on the wire
    config = JSONField(default=dict)
    context = JSONField(default=dict)
    metadata = JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True


class Assistant(Configured):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Created by the server from langgraph.json. A column, since clients write metadata.
    is_system = models.BooleanField(default=False)
    updated_at = models.DateTimeField(db_default=Now())
    owner = owner_column()

    objects = AssistantQuerySet.as_manager()

    class Meta:
        db_table = "assistants"
        indexes = [
            models.Index(
                fields=["owner", "-created_at", "id"], name="assistants_by_owner"
            ),
            models.Index(fields=["-created_at", "id"], name="assistants_by_created"),
            models.Index(fields=["graph_id"], name="assistants_by_graph"),
            # System assistants are in the results of every caller's searches.
            models.Index(
                fields=["id"], name="assistants_system", condition=Q(is_system=True)
            ),
            GinIndex(
                fields=["metadata"],
                name="assistants_metadata",
                opclasses=["jsonb_path_ops"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.graph_id})"


class AssistantVersion(Configured):
    """A version of an assistant; rows are never changed."""

    assistant = models.ForeignKey(
        Assistant,
        on_delete=models.CASCADE,
        related_name="versions",
        db_index=False,  # `one_row_per_assistant_version` covers it.
    )

    class Meta:
        db_table = "assistant_versions"
        constraints = [
            models.UniqueConstraint(
                fields=["assistant", "version"], name="one_row_per_assistant_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.assistant_id} v{self.version}"
