"""The owner of a row: `metadata.owner` as a column, for filters and indexes."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, Left

# Longer identities are refused, since two of them might be equal when truncated.
MAX_OWNER_LENGTH = 255


def owner_column() -> models.GeneratedField:
    """A stored column generated from `metadata`, so that the two can't disagree.

    The value is truncated to fit into an index entry: without authentication, clients
    can write any `metadata.owner`.
    """
    return models.GeneratedField(
        expression=Left(
            Coalesce(KeyTextTransform("owner", F("metadata")), Value("")),
            MAX_OWNER_LENGTH,
        ),
        output_field=models.TextField(),
        db_persist=True,
    )
