"""API keys. The key itself is never stored, only its digest."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from spool.database.fields import JSONField
from spool.database.ids import uuid7


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> ApiKeyQuerySet:
        not_expired = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(not_expired, revoked_at=None)


class ApiKey(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # The key gives access to this owner's rows.
    owner = models.TextField()
    name = models.TextField(default="", blank=True)
    # The first characters of the key, to identify it in lists and logs.
    prefix = models.TextField(editable=False)
    # SHA-256: keys are random, so no slow hash is needed.
    digest = models.TextField(unique=True, editable=False)
    # See `access.scopes`; empty for everything that its owner may do.
    scopes = JSONField(default=list, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(condition=~Q(owner=""), name="api_key_has_an_owner")
        ]
        indexes = [models.Index(fields=["owner"], name="api_keys_by_owner")]

    def __str__(self) -> str:
        return f"{self.prefix}…"
