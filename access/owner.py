"""The owner of a row: `metadata.owner`, as a column of its own for filters and indexes."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, Left

# Longer identities are refused where they come in, so that cutting can't merge two.
MAX_OWNER_LENGTH = 255


def owner_column() -> models.GeneratedField:
    """A stored column generated from `metadata`, so that the two can't disagree.

    It is cut to what an index entry holds: where nobody logs in, clients write
    `metadata.owner` as they like.
    """
    return models.GeneratedField(
        expression=Left(
            Coalesce(KeyTextTransform("owner", F("metadata")), Value("")),
            MAX_OWNER_LENGTH,
        ),
        output_field=models.TextField(),
        db_persist=True,
    )
