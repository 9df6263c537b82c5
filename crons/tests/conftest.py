from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spool.access.tests.people import Client
from spool.assistants.tests.served import _system_assistants as _system_assistants
from spool.assistants.tests.served import serving, write_echo
from spool.crons.models import Cron
from spool.crons.services import database_now
from spool.threads.models import Thread

MakeCron = Callable[..., Cron]
MakeDue = Callable[..., None]


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with one graph, `echo`."""
    path = write_echo(tmp_path_factory.mktemp("graphs"))
    with serving(path):
        yield path


@pytest.fixture
def thread(db: None) -> Thread:
    return Thread.objects.create(metadata={"owner": "alice"})


@pytest.fixture
def make_cron(alice_client: Client) -> MakeCron:
    """Create a cron of alice's; by default at new year, so that it never comes due."""

    def make(thread: Thread | None = None, **body: Any) -> Cron:
        path = f"/threads/{thread.id}/runs/crons" if thread else "/runs/crons"
        given = {"assistant_id": "echo", "schedule": "0 0 1 1 *", **body}
        response = alice_client.call("post", path, given)
        assert response.status_code == 200, response.content
        return Cron.objects.get(pk=response.json()["cron_id"])

    return make


@pytest.fixture
def make_due() -> MakeDue:
    """Set a cron's next slot to this many seconds ago."""

    def make(cron: Cron, seconds: float = 1) -> None:
        slot = database_now().replace(microsecond=0) - timedelta(seconds=seconds)
        Cron.objects.filter(pk=cron.pk).update(next_run_date=slot)
        cron.refresh_from_db()

    return make
