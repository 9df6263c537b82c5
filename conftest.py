"""The people of all tests: alice, bob, and how they call the API."""

from __future__ import annotations

import pytest
from django.conf import LazySettings

from access import keys
from access.tests.people import Client, Person


@pytest.fixture(autouse=True)
def _nobody_is_remembered() -> None:
    keys.remembered.forget()


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
