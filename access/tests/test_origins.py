"""On whose behalf code calls the API from inside."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.core.handlers.asgi import ASGIRequest
from rest_framework.exceptions import NotAuthenticated

from spool.access import keys
from spool.access.callers import Caller
from spool.access.models import ApiKey
from spool.access.origins import KeyIsGone
from spool.access.policy import EVERYTHING, Forbidden, Scope, authorize
from spool.access.tests.bearers import OWNERS
from spool.access.tests.conftest import Serve
from spool.access.tests.people import Person
from spool.web.inside import ORIGIN, SYSTEM, OfRequest, OfRun

pytestmark = pytest.mark.django_db


def scope_of(origin: Any, *headers: tuple[bytes, bytes]) -> Any:
    return {
        "type": "http",
        "method": "GET",
        "path": "/threads",
        "query_string": b"",
        "headers": list(headers),
        "server": ("127.0.0.1", 80),
        ORIGIN: origin,
    }


def allowed(origin: Any, event: str, *headers: tuple[bytes, bytes]) -> Scope:
    """What the policy answers to a call from inside."""
    request = ASGIRequest(scope_of(origin, *headers), BytesIO())
    return authorize(request, event, {"metadata": {}}).scope


def run_of(caller: Caller | None) -> OfRun:
    key_id = caller.api_key_id if caller else None
    return OfRun(uuid4(), uuid4(), caller.user if caller else None, key_id)


def run_with_key(*scopes: str) -> tuple[OfRun, ApiKey]:
    key, text = keys.create_key(owner="alice", scopes=scopes)
    return run_of(keys.find_caller(text)), key


def test_a_run_has_the_owner_and_the_scopes_of_its_key(api_keys: None) -> None:
    run, key = run_with_key("threads:create_run", "threads:read")

    scope = allowed(run, "threads.read")

    assert (scope.owner, scope.api_key_id) == ("alice", key.pk)
    with pytest.raises(Forbidden):
        allowed(run, "threads.delete")


def test_a_run_whose_key_was_revoked_is_refused(api_keys: None) -> None:
    run, key = run_with_key()
    keys.revoke([key])

    with pytest.raises(KeyIsGone):
        allowed(run, "threads.read")


def test_a_run_has_the_scopes_of_its_token(settings: LazySettings) -> None:
    settings.AUTH = ["jwt"]
    user = {"identity": "alice", "permissions": ["threads:read"]}
    limited = OfRun(uuid4(), uuid4(), user, None)
    unlimited = OfRun(uuid4(), uuid4(), {**user, "permissions": []}, None)

    assert allowed(limited, "threads.read").owner == "alice"
    with pytest.raises(Forbidden):
        allowed(limited, "threads.delete")
    assert allowed(unlimited, "threads.delete").owner == "alice"


def test_handlers_are_asked_about_the_user_of_a_run(serve: Serve) -> None:
    serve(OWNERS)
    run = OfRun(uuid4(), uuid4(), {"identity": "alice", "permissions": []}, None)

    scope = allowed(run, "threads.read")

    assert scope.identity == "alice"
    assert "alice" in str(scope.rows)


def test_a_run_ignores_the_keys_of_its_environment(api_keys: None) -> None:
    run, _ = run_with_key()

    scope = allowed(run, "threads.read", (b"x-api-key", b"of another service"))

    assert scope.owner == "alice"


def test_a_run_without_a_user_needs_a_key(alice: Person) -> None:
    key = (b"x-api-key", alice.key.encode())

    with pytest.raises(NotAuthenticated):
        allowed(run_of(None), "threads.read")
    assert allowed(run_of(None), "threads.read", key).owner == "alice"


def test_a_route_acts_as_its_caller(alice: Person, bob: Person) -> None:
    of_alice = OfRequest(scope_of(None, (b"x-api-key", alice.key.encode())))
    without_key = OfRequest(scope_of(None))
    key_of_bob = (b"x-api-key", bob.key.encode())

    assert allowed(of_alice, "threads.read", key_of_bob).owner == "alice"
    assert allowed(without_key, "threads.read", key_of_bob).owner == "bob"
    with pytest.raises(NotAuthenticated):
        allowed(without_key, "threads.read")


def test_the_system_may_do_everything(api_keys: None) -> None:
    assert allowed(SYSTEM, "threads.delete") is EVERYTHING


def test_a_header_names_no_origin(api_keys: None) -> None:
    scope = scope_of(None, (ORIGIN.encode(), b"system"))
    del scope[ORIGIN]

    with pytest.raises(NotAuthenticated):
        authorize(ASGIRequest(scope, BytesIO()), "threads.read")
