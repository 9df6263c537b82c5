"""Unusual searches in the admin."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", ["threads_thread", "assistants_assistant"])
@pytest.mark.parametrize(
    "term",
    [
        'a="\\u0000"',
        'a="\\ud800"',
        "a=NaN",
        "a=1e400",
        "a=" + "9" * 5000,
        "a=" + "[" * 20_000,
        '{"a":' * 5_000,
        '{"a": -Infinity}',
        "=",
        "\0",
    ],
    ids=lambda term: term[:12],
)
def test_any_search_has_an_answer(admin_client: Client, model: str, term: str) -> None:
    Thread.objects.create(metadata={"a": 1})

    response = admin_client.get(reverse(f"admin:{model}_changelist"), {"q": term})

    assert response.status_code == 200
