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
from spool.runs.serializers import RunRequest
from spool.runs.services import create_run
from spool.runs.tests.executing import forget_config
from spool.threads.models import Thread
from spool.web.bodies import valid


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
    """Creates a pending run of `thread` as the API does."""

    def make(**body: Any) -> Run:
        return create_run(
            scope=EVERYTHING,
            thread_id=body.get("thread_id", thread.id),
            request=valid(RunRequest, {"assistant_id": "echo", **body}),
        )

    return make


@pytest.fixture
def client_of(db: None) -> Callable[..., Client]:
    """A client logged in as a user with these permissions."""

    def make(*names: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client = Client()
        client.force_login(user)
        return client

    return make
