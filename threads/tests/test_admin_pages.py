"""The links of the admin's pages of threads and assistants."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from spool.assistants.models import Assistant
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


def test_a_thread_leads_to_its_runs(admin_client: Client) -> None:
    thread = Thread.objects.create()

    path = reverse("admin:threads_thread_change", args=[thread.pk])
    text = admin_client.get(path).content.decode()

    assert f"{reverse('admin:runs_run_changelist')}?q={thread.pk}" in text


def test_an_assistant_leads_to_its_runs_and_threads(admin_client: Client) -> None:
    assistant = Assistant.objects.create(graph_id="echo", name="Mine")

    path = reverse("admin:assistants_assistant_change", args=[assistant.pk])
    text = admin_client.get(path).content.decode()

    for model in ("runs_run", "threads_thread"):
        assert f"{reverse(f'admin:{model}_changelist')}?q={assistant.pk}" in text
