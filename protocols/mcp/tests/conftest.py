from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.http import HttpRequest
from django.test import RequestFactory

from spool.access.tests.people import Person
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import GRAPHS, serving
from spool.protocols.mcp.calls import Call
from spool.protocols.mcp.tools import find_tool

Calling = Callable[..., Call]


@pytest.fixture(scope="module", autouse=True)
def _graphs() -> Iterator[None]:
    """A server with the graphs of the live tests."""
    with serving(GRAPHS):
        yield


def request_of(person: Person) -> HttpRequest:
    return RequestFactory().post("/mcp", headers={"x-api-key": person.key})


@pytest.fixture
def calling(db: None) -> Calling:
    """A function that returns a person's call of a tool."""
    register_system_assistants()

    def calling(person: Person, name: str = "human") -> Call:
        request = request_of(person)
        return Call(request, find_tool(request, name), shows_progress=False)

    return calling
