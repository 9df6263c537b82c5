from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from spool.access.policy import EVERYTHING
from spool.assistants.tests.served import _system_assistants as _system_assistants
from spool.assistants.tests.served import serving, write_echo
from spool.runs.models import Run
from spool.runs.run_request import AllowedRun
from spool.runs.serializers import parse_run_request
from spool.runs.services import create_run
from spool.runs.tests.executing import forget_config
from spool.threads.models import Thread


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with one graph, `echo`."""
    path = write_echo(tmp_path_factory.mktemp("graphs"))
    with serving(path, forget_config):
        yield path


@pytest.fixture
def thread(db: None) -> Thread:
    return Thread.objects.create(metadata={"owner": "alice"})


@pytest.fixture
def make_run(thread: Thread) -> Callable[..., Run]:
    """A function that creates a pending run of `thread` as the API does."""

    def make(**body: Any) -> Run:
        request = parse_run_request({"assistant_id": "echo", **body})
        thread_id = body.get("thread_id", thread.id)
        return create_run(AllowedRun(request, EVERYTHING, thread_id))

    return make


@pytest.fixture
def client_of(db: None) -> Callable[..., Client]:
    """A function that returns a client of a user with the given permissions."""

    def make(*names: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(user)
        return client

    return make
