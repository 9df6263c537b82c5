"""The people of all tests, alice and bob, how they call the API, and the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import LazySettings

from access import keys
from access.tests.people import Client, Person
from config import documentation, redis_patience
from config.database_threads import database_threads
from config.loop import close_shared_loop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What `-n 3` does side by side: the tests of the apps, which share one Postgres and
    one Valkey, and may empty or pause them; and those on servers of their own.
    """
    for item in items:
        folder = item.path.parent.name
        group = folder if folder in ("compat", "e2e") else "apps"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The test database can be dropped only once nobody is connected to it."""
    yield
    database_threads.close()
    close_shared_loop()


@pytest.fixture(autouse=True)
def _nobody_is_remembered() -> None:
    keys.remembered.forget()
    documentation.schema.cache_clear()
    redis_patience.forget()


@pytest.fixture
def api_keys(db: None, settings: LazySettings) -> None:
    """Everybody has to show an API key."""
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
