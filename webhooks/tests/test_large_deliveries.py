"""Large deliveries are not all in memory at once."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from spool.database.ids import uuid7
from spool.webhooks import deliveries
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db


def test_a_batch_ends_where_it_grows_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "MAX_BYTES", 100_000)
    large = random.Random(1).randbytes(100_000).hex()  # noqa: S311
    due = [
        WebhookDelivery.objects.create(
            run_id=uuid7(),
            thread_id=uuid7(),
            url="http://127.0.0.1:1/",
            payload={"values": large},
            next_attempt_at=Now() - timedelta(seconds=60 - number),
        ).pk
        for number in range(5)
    ]

    taken = []
    while batch := deliveries._take():
        taken.append({one.pk for one in batch})

    assert taken == [{pk} for pk in due]
