"""The people of all tests, alice and bob, how they call the API, and the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from spool import hooks
from spool.access import keys
from spool.access.tests.people import Client, Person
from spool.config.celery import app as celery_app
from spool.database import redis
from spool.database.loop import close_shared_loop
from spool.web import openapi
from spool.web.thread_pool import database_threads

hooks.fill()
# Or tasks would be sent to Celery's default application, whose broker is not running.
celery_app.set_default()


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # It has no types.
    """What `-n 4` does side by side: the tests of each app; those with one server for all
    of them; and each file of those that start, hold up and kill servers of their own.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/e2e/"):
            return nodeid.partition("::")[0]
        first, second, *_ = nodeid.split("/")
        return f"{first}/{second}" if first in ("tests", "protocols") else first


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    return ByFolder(config, log)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The test database can only be dropped without connections to it."""
    yield
    database_threads.close()
    close_shared_loop()


@pytest.fixture(autouse=True)
def _no_caller_is_cached() -> None:
    keys.remembered.forget()
    openapi.schema.cache_clear()
    redis.forget()


@pytest.fixture
def api_keys(db: None, settings: LazySettings) -> None:
    """All callers need an API key."""
    settings.AUTH = ["api_key"]


@pytest.fixture
def alice(api_keys: None) -> Person:
    return Person.with_key("alice")


@pytest.fixture
def bob(api_keys: None) -> Person:
    return Person.with_key("bob")


@pytest.fixture
def alice_client(alice: Person) -> Client:
    return Client(alice)


@pytest.fixture
def bob_client(bob: Person) -> Client:
    return Client(bob)
