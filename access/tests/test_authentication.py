"""Authentication by handlers of the official `Auth` contract."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.bearers import OWNERS, call
from spool.access.tests.conftest import Serve
from spool.assistants.services import register_system_assistants
from spool.runs.models import Run

pytestmark = pytest.mark.django_db


def test_the_handlers_exception_is_the_answer(serve: Serve) -> None:
    serve(OWNERS)

    for path in ("/threads/x", "/nothing/here"):
        response = call(None, "get", path)
        assert response.status_code == 401
        assert response.json() == {"detail": "Who are you?"}


@pytest.mark.parametrize("path", ["/ok", "/info", "/docs", "/openapi.json", "/metrics"])
def test_what_is_about_the_server_is_not_asked(serve: Serve, path: str) -> None:
    serve(OWNERS)

    assert call(None, "get", path).status_code == 200


@pytest.mark.parametrize(
    ("raised", "status", "detail"),
    [
        ("Auth.exceptions.HTTPException()", 401, "Unauthorized"),
        ("Auth.exceptions.HTTPException(status_code=403)", 403, "Forbidden"),
        ("Auth.exceptions.HTTPException(429, 'slowly')", 429, "slowly"),
        ("ValueError('the secret')", 500, "Internal Server Error"),
        ("KeyError('the secret')", 500, "Internal Server Error"),
        ("AttributeError('the secret')", 500, "Internal Server Error"),
    ],
)
def test_what_authenticate_raises(
    serve: Serve, raised: str, status: int, detail: str
) -> None:
    serve(f"""
        @auth.authenticate
        async def authenticate():
            raise {raised}
    """)

    response = call("alice", "get", "/threads/x")

    assert (response.status_code, response.json()) == (status, {"detail": detail})


def test_the_exceptions_headers_are_sent(serve: Serve) -> None:
    serve("""
        @auth.authenticate
        async def authenticate():
            raise Auth.exceptions.HTTPException(headers={"WWW-Authenticate": "Basic"})
    """)

    for path in ("/threads/x", "/nothing/here"):
        assert call(None, "get", path).headers["WWW-Authenticate"] == "Basic"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("'alice'", {"identity": "alice", "permissions": []}),
        ("{'identity': 'alice', 'org': {'id': 1}}", {"org": {"id": 1}}),
        ("{'identity': 7}", {"identity": "7", "display_name": "7"}),
        ("Person()", {"identity": "alice", "permissions": ["run"], "org": "o"}),
        (
            "{'identity': 'alice', 'display_name': 'A', 'permissions': ('a', 'b')}",
            {"display_name": "A", "permissions": ["a", "b"], "is_authenticated": True},
        ),
    ],
)
def test_what_authenticate_may_return(
    serve: Serve, returned: str, expected: dict[str, Any]
) -> None:
    serve(f"""
        class Person:
            permissions = ["run"]
            def __init__(self):
                self.org, self._secret = "o", "hidden"
            @property
            def identity(self):
                return "alice"

        @auth.authenticate
        async def authenticate():
            return {returned}
    """)
    register_system_assistants()

    assert call(None, "post", "/runs", {"assistant_id": "echo"}).status_code == 200

    user = Run.objects.get().user
    assert user is not None
    assert expected.items() <= user.items()
    assert "_secret" not in user


@pytest.mark.parametrize(
    ("returned", "status"),
    [
        ("None", 401),
        ("{'identity': 'alice', 'is_authenticated': False}", 401),
        ("''", 400),
        ("{'name': 'alice'}", 400),
        ("{'identity': 'a\\0b'}", 400),
        ("['alice']", 400),
    ],
)
def test_who_has_no_identity_is_not_let_in(
    serve: Serve, returned: str, status: int
) -> None:
    serve(f"""
        @auth.authenticate
        async def authenticate():
            return {returned}
    """)

    response = call(None, "get", "/threads/x")

    assert response.status_code == status
    assert response.json()["detail"]


def test_authenticate_is_given_what_it_asks_for(serve: Serve) -> None:
    serve("""
        @auth.authenticate
        async def authenticate(
            request, body, path, method, path_params, query_params, headers,
            authorization, optional=5,
        ):
            given = [
                body, path, method, path_params, query_params, headers[b"x-mine"],
                authorization, optional, request.headers["X-Mine"], request.method,
                request.url.path, request.url.query, await request.json(),
            ]
            raise Auth.exceptions.HTTPException(418, repr(given))
    """)
    path = "/threads/00000000-0000-4000-8000-000000000001/runs?a=1&b=x%20y"

    response = call("alice", "post", path, {"input": [1]}, **{"X-Mine": "é"})

    thread = "00000000-0000-4000-8000-000000000001"
    assert response.json()["detail"] == repr(
        [
            *({"input": [1]}, f"/threads/{thread}/runs", "POST"),
            *({"thread_id": thread}, {"a": "1", "b": "x y"}, "é".encode("latin-1")),
            *("Bearer alice", 5, "é", "POST"),
            *(f"/threads/{thread}/runs", "a=1&b=x%20y", {"input": [1]}),
        ]
    )


def test_a_plain_function_authenticates_too(serve: Serve) -> None:
    serve("""
        @auth.authenticate
        def authenticate(headers: dict):
            return headers[b"x-name"].decode()
    """)

    assert call(None, "get", "/threads/x", **{"X-Name": "alice"}).status_code == 422


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        (None, ["a-1", "a-2", "b-3", "a-4"]),
        ({"cache_keys": ["x-name"], "ttl_seconds": 60}, ["a-1", "a-1", "b-2", "a-1"]),
        ({"cache_keys": ["x-other"]}, ["a-1", "a-2", "b-3", "a-4"]),
    ],
)
def test_authentication_is_cached_where_it_is_asked_for(
    serve: Serve, cache: Any, expected: list[str]
) -> None:
    source = """
        asked = []

        @auth.authenticate
        async def authenticate(headers):
            asked.append(1)
            return f"{headers[b'x-name'].decode()}-{len(asked)}"

        @auth.on
        async def tell(ctx, value):
            raise Auth.exceptions.HTTPException(418, ctx.user.identity)
    """

    serve(source, auth={"cache": cache} if cache else {})

    names = [
        call(None, "post", "/threads", **{"X-Name": name}).json()["detail"]
        for name in ("a", "a", "b", "a")
    ]

    assert names == expected
