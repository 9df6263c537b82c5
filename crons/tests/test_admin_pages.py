"""The contents and links of the admin's page of a cron."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from spool.console import markup
from spool.crons.models import Cron
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


def page(client: Client, cron: Cron) -> str:
    response = client.get(reverse("admin:crons_cron_change", args=[cron.pk]))
    assert response.status_code == 200
    return response.content.decode()


def test_it_leads_to_its_thread_and_its_assistant(
    admin_client: Client, make_cron: Callable[..., Cron], thread: Thread
) -> None:
    cron = make_cron(thread)

    text = page(admin_client, cron)

    assert reverse("admin:threads_thread_change", args=[thread.pk]) in text
    assert (
        reverse("admin:assistants_assistant_change", args=[cron.assistant_id]) in text
    )


def test_what_its_runs_are_given_is_readable_and_cut_where_it_is_long(
    admin_client: Client,
    make_cron: Callable[..., Cron],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(markup, "MAX_CHARACTERS", 2000)
    readable = make_cron(input={"ask": "東京"})
    long = make_cron(input="x" * 5000)

    assert "東京" in page(admin_client, readable)
    assert "x" * 2000 not in page(admin_client, long)


def test_the_list_names_assistants(
    admin_client: Client, make_cron: Callable[..., Cron]
) -> None:
    known, gone = make_cron(), make_cron()
    lost = uuid4()
    Cron.objects.filter(pk=gone.pk).update(assistant_id=lost)

    text = admin_client.get(reverse("admin:crons_cron_changelist")).content.decode()

    assert str(known.assistant_id) not in text
    assert ">echo<" in text.replace("\n", "").replace(" ", "")
    assert str(lost) in text


def test_the_list_offers_no_counts_of_all_crons(admin_client: Client) -> None:
    text = admin_client.get(reverse("admin:crons_cron_changelist")).content.decode()

    assert "_facets" not in text
