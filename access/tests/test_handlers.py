"""The official `Auth` contract, with handlers as people write them."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.test import Client as Browser

from access.start import check_access
from access.tests.conftest import Serve
from assistants.models import Assistant
from assistants.services import register_system_assistants
from crons.firing import run_now
from crons.models import Cron
from runs.inputs import graph_config
from runs.lifecycle import Claim
from runs.models import Run
from store.models import StoreItem
from threads.models import Thread

pytestmark = pytest.mark.django_db

# The bearer's token is their name.
BY_NAME = """
@auth.authenticate
async def authenticate(authorization: str | None) -> Any:
    if not authorization:
        raise Auth.exceptions.HTTPException(status_code=401, detail="Who are you?")
    name = authorization.removeprefix("Bearer ")
    return {"identity": name, "permissions": ["run"], "team": "red"}
"""
OWNERS = (
    BY_NAME
    + """
@auth.on
async def own(ctx, value):
    mine = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(mine)
    return mine
"""
)


def call(
    name: str | None, method: str, path: str, body: Any = None, **headers: str
) -> Any:
    if name:
        headers["Authorization"] = f"Bearer {name}"
    data = {} if method == "get" else {"data": body or {}}
    send = getattr(Browser(headers=headers, raise_request_exception=False), method)
    return send(path, content_type="application/json", **data)


# --- Who is asking ----------------------------------------------------------------------
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
        ("''", 500),
        ("{'name': 'alice'}", 500),
        ("{'identity': 'a\\0b'}", 500),
        ("['alice']", 500),
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

    assert call(None, "get", "/threads/x").status_code == status


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


# --- What they may ----------------------------------------------------------------------
def test_owners_see_their_own(serve: Serve) -> None:
    serve(OWNERS)
    made = call("alice", "post", "/threads", {"metadata": {"owner": "bob"}}).json()
    path = f"/threads/{made['thread_id']}"

    assert made["metadata"] == {"owner": "alice"}
    assert call("alice", "get", path).status_code == 200
    assert call("bob", "get", path).status_code == 404
    assert call("bob", "get", f"{path}/state").status_code == 404
    assert call("bob", "patch", path, {"metadata": {"a": 1}}).status_code == 404
    assert call("bob", "delete", path).status_code == 404
    assert call("bob", "post", f"{path}/copy").status_code == 409
    assert call("bob", "post", "/threads/search").json() == []
    assert call("bob", "post", "/threads/count").json() == 0
    assert Thread.objects.get().metadata == {"owner": "alice"}


SPECIFIC = (
    BY_NAME
    + """
def teapot(name):
    async def handler(ctx, value):
        raise Auth.exceptions.HTTPException(418, f"{name} {ctx.resource}.{ctx.action}")
    return handler

auth.on(teapot("global"))
auth.on.threads(teapot("threads"))
auth.on.threads.create(teapot("exact"))
auth.on(actions="search")(teapot("action"))
"""
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("post", "/threads", "exact threads.create"),
        ("post", "/threads/search", "threads threads.search"),
        ("post", "/assistants/search", "action assistants.search"),
        ("post", "/runs/crons/count", "action crons.search"),
        ("post", "/store/namespaces", "global store.list_namespaces"),
    ],
)
def test_the_most_specific_handler_is_asked(
    serve: Serve, method: str, path: str, expected: str
) -> None:
    serve(SPECIFIC)

    assert call("alice", method, path).json() == {"detail": expected}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("None", 200),
        ("True", 200),
        ("False", 403),
        ("{}", 200),
        ("{'owner': {'$unknown': 'alice'}}", 500),
        ("{'$unknown': []}", 500),
        ("'alice'", 500),
        ("[]", 500),
        ("0", 500),
        ("1 / 0", 500),
    ],
)
def test_what_a_handler_may_answer(serve: Serve, answer: str, status: int) -> None:
    serve(BY_NAME + f"\n@auth.on\nasync def answer(ctx, value):\n    return {answer}\n")
    Thread.objects.create(metadata={"owner": "alice", "note": "secret"})

    response = call("alice", "post", "/threads/search")

    assert response.status_code == status
    assert ("secret" in response.text) == (status == 200)


def test_a_failure_is_logged_without_the_query(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    serve(BY_NAME + "\n@auth.on\nasync def fail(ctx, value):\n    return 1 / 0\n")
    path = "/threads/00000000-0000-4000-8000-000000000001"

    response = call("alice", "get", f"{path}?token=hidden")

    assert response.status_code == 500
    assert f"GET {path}" in caplog.text
    assert "hidden" not in caplog.text


def test_refused_is_forbidden(serve: Serve) -> None:
    serve(BY_NAME + "\n@auth.on\nasync def no(ctx, value):\n    return False\n")

    response = call("alice", "post", "/threads")

    assert (response.status_code, response.json()) == (403, {"detail": "Forbidden"})


def test_an_assertion_is_a_refusal(serve: Serve) -> None:
    serve(BY_NAME + "\n@auth.on\nasync def no(ctx, value):\n    assert False, 'why'\n")

    response = call("alice", "post", "/threads")

    assert (response.status_code, response.json()) == (403, {"detail": "Forbidden"})


def test_without_a_handler_all_is_allowed(serve: Serve) -> None:
    serve(BY_NAME)
    made = call("alice", "post", "/threads").json()

    assert call("bob", "get", f"/threads/{made['thread_id']}").status_code == 200


def test_the_context_has_the_user(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on
async def tell(ctx, value):
    user = ctx.user
    found = [
        user.identity, user["team"], user.team, user.display_name, ctx.permissions,
        "team" in user, user.is_authenticated, isinstance(user, Auth.types.BaseUser),
        ctx.resource, ctx.action, type(value["thread_id"]).__name__,
    ]
    raise Auth.exceptions.HTTPException(418, repr(found))
"""
    )

    path = "/threads/00000000-0000-4000-8000-000000000001"
    assert call("alice", "get", path).json()["detail"] == repr(
        [
            *("alice", "red", "red", "alice", ["run"]),
            *(True, True, True, "threads", "read", "UUID"),
        ]
    )


@pytest.mark.parametrize(
    "change",
    ["value['metadata']['team'] = 'red'", "value['metadata'] = {'team': 'red'}"],
)
def test_what_a_handler_writes_into_metadata_is_kept(serve: Serve, change: str) -> None:
    serve(BY_NAME + f"\n@auth.on\nasync def stamp(ctx, value):\n    {change}\n")

    made = call("alice", "post", "/threads").json()
    assistant = call("alice", "post", "/assistants", {"graph_id": "echo"}).json()

    assert made["metadata"] == {"team": "red"}
    assert assistant["metadata"] == {"team": "red"}


@pytest.mark.parametrize(
    "answer", ["{'owner': me}", "{'owner': {'$eq': me}}", "{'owner': me, 'team': 'a'}"]
)
def test_what_is_made_is_in_its_makers_sight(serve: Serve, answer: str) -> None:
    """Also where a handler only answers, and writes no metadata."""
    serve(
        BY_NAME
        + f"""
@auth.on
async def only_answer(ctx, value):
    me = ctx.user.identity
    return {answer}
"""
    )
    register_system_assistants()
    run = {"assistant_id": "echo", "if_not_exists": "create"}
    new = "/threads/00000000-0000-4000-8000-000000000001"

    made = call("alice", "post", "/threads", {"metadata": {"owner": "bob"}}).json()
    started = call("alice", "post", f"{new}/runs", run)

    assert made["metadata"]["owner"] == "alice"
    assert started.status_code == 200
    for path in (f"/threads/{made['thread_id']}", new):
        assert call("alice", "get", path).status_code == 200
        assert call("bob", "get", path).status_code == 404


def test_a_handler_changes_its_user_for_nobody_else(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on
async def change(ctx, value):
    given = ctx.permissions, ctx.user.permissions, ctx.user["permissions"]
    before = [len(permissions) for permissions in given]
    for permissions in given:
        permissions.append("admin")
    raise Auth.exceptions.HTTPException(418, str(before))
""",
        auth={"cache": {"ttl_seconds": 60}},
    )

    answers = [call("alice", "post", "/threads").json()["detail"] for _ in range(2)]

    assert answers == ["[1, 1, 1]"] * 2


def test_nobody_writes_a_row_into_anothers_sight(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on.threads
async def filter_only(ctx, value):
    return {"owner": ctx.user.identity}
@auth.on.threads.create
async def stamp(ctx, value):
    value["metadata"]["owner"] = ctx.user.identity
"""
    )
    made = call("alice", "post", "/threads").json()
    path = f"/threads/{made['thread_id']}"

    body = {"metadata": {"owner": "bob", "note": 1}}
    changed = call("alice", "patch", path, body)

    assert changed.json()["metadata"] == {"owner": "alice", "note": 1}
    assert call("bob", "get", path).status_code == 404


# --- Assistants, runs, crons ------------------------------------------------------------
def test_system_assistants_are_hidden_but_usable(serve: Serve) -> None:
    serve(OWNERS)
    register_system_assistants()
    system = Assistant.objects.get()

    assert call("alice", "get", f"/assistants/{system.id}").status_code == 404
    assert call("alice", "post", "/assistants/search").json() == []
    assert call("alice", "post", "/runs", {"assistant_id": "echo"}).status_code == 200


def test_a_private_assistant_is_no_use_to_others(serve: Serve) -> None:
    serve(OWNERS)
    made = call("alice", "post", "/assistants", {"graph_id": "echo"}).json()
    body = {"assistant_id": made["assistant_id"]}

    assert call("bob", "post", "/runs", body).status_code == 404
    assert call("alice", "post", "/runs", body).status_code == 200


def test_graphs_are_told_who_asked(serve: Serve) -> None:
    serve(OWNERS)
    register_system_assistants()

    call("alice", "post", "/runs", {"assistant_id": "echo"})

    configurable = configurable_of(Run.objects.get())
    assert configurable["langgraph_auth_user_id"] == "alice"
    assert configurable["langgraph_auth_permissions"] == ["run"]
    assert configurable["langgraph_auth_user"]["team"] == "red"
    assert Run.objects.get().metadata["owner"] == "alice"


def test_crons_remember_who_made_them(serve: Serve) -> None:
    serve(OWNERS)
    register_system_assistants()
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    made = call("alice", "post", "/runs/crons", body).json()

    run = run_now(Cron.objects.get())

    assert made["user_id"] == "alice"
    assert configurable_of(run)["langgraph_auth_user_id"] == "alice"
    assert run.thread.owner == "alice"
    assert call("bob", "get", f"/runs/crons/{made['cron_id']}").status_code == 404


SHARED_CRONS = (
    OWNERS
    + """
@auth.on.crons
async def shared(ctx, value):
    return True

@auth.on.threads.create_run
async def few(ctx, value):
    assert value["kwargs"]["input"] != "dear" or ctx.user.identity == "alice"
    return {"owner": ctx.user.identity}
"""
)


THREADS_ALONE = (
    BY_NAME
    + """
@auth.on.threads
async def own(ctx, value):
    mine = {"owner": ctx.user.identity}
    value.setdefault("metadata", {}).update(mine)
    return mine
"""
)


def test_who_keeps_threads_apart_keeps_crons_apart(serve: Serve) -> None:
    serve(THREADS_ALONE)
    register_system_assistants()
    cron = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    made = call("alice", "post", "/runs/crons", cron).json()

    def found(name: str) -> tuple[list[str], int]:
        rows = call(name, "post", "/runs/crons/search").json()
        count = call(name, "post", "/runs/crons/count").json()
        return [row["cron_id"] for row in rows], count

    assert found("alice") == ([made["cron_id"]], 1)
    assert found("bob") == ([], 0)


@pytest.mark.parametrize("handler", ["@auth.on.threads", "@auth.on.threads.search"])
def test_who_keeps_threads_apart_keeps_crons_apart_by_their_ids(
    serve: Serve, handler: str
) -> None:
    stamps = """
@auth.on.threads.create_run
async def stamp(ctx, value):
    value["metadata"]["owner"] = ctx.user.identity
"""
    serve(THREADS_ALONE.replace("@auth.on.threads", handler) + stamps)
    register_system_assistants()
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    made = call("alice", "post", "/runs/crons", body).json()
    path = f"/runs/crons/{made['cron_id']}"
    calls = [
        ("get", path, None),
        ("get", f"{path}/firings", None),
        ("patch", path, {"enabled": False}),
        ("patch", path, {"metadata": {"owner": "bob"}}),
        ("post", f"{path}/run", None),
        ("delete", path, None),
    ]

    by_bob = [call("bob", *one).status_code for one in calls]
    runs, kept = Run.objects.count(), call("alice", "get", path).json()
    by_alice = [call("alice", *one).status_code for one in calls]

    assert by_bob == [404] * 6
    assert (runs, kept) == (0, made)
    assert by_alice == [200, 200, 200, 200, 200, 204]


def test_handlers_for_crons_decide_about_them_alone(serve: Serve) -> None:
    """But for a search, where the official server asks about threads as well."""
    serve(
        THREADS_ALONE
        + """
@auth.on.crons
async def shared(ctx, value):
    return True
"""
    )
    register_system_assistants()
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    made = call("alice", "post", "/runs/crons", body).json()

    found = call("bob", "get", f"/runs/crons/{made['cron_id']}")
    listed = call("bob", "post", "/runs/crons/search").json()

    assert (found.status_code, listed) == (200, [])


def test_who_changes_a_cron_can_use_no_more_than_their_own(serve: Serve) -> None:
    """Its runs are its creator's: else that would be a way to all that they have."""
    serve(SHARED_CRONS)
    register_system_assistants()
    private = call("alice", "post", "/assistants", {"graph_id": "echo"}).json()
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *", "input": "cheap"}
    path = f"/runs/crons/{call('alice', 'post', '/runs/crons', body).json()['cron_id']}"
    use = {"assistant_id": private["assistant_id"]}

    answers = [
        call("bob", "patch", path, {"schedule": "@daily"}),
        call("bob", "patch", path, {"input": "dear"}),
        call("bob", "patch", path, use),
        call("bob", "patch", path, {"input": "cheaper"}),
        call("alice", "patch", path, {**use, "input": "dear"}),
        call("bob", "post", f"{path}/run"),
    ]

    statuses = [answer.status_code for answer in answers]
    assert statuses == [200, 403, 404, 200, 200, 403]
    assert not Run.objects.exists()


@pytest.mark.parametrize("private", ["assistant", "thread"])
def test_who_runs_a_cron_can_use_no_more_than_their_own(
    serve: Serve, private: str
) -> None:
    serve(SHARED_CRONS)
    register_system_assistants()
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *", "input": "cheap"}
    crons = "/runs/crons"
    if private == "assistant":
        made = call("alice", "post", "/assistants", {"graph_id": "echo"}).json()
        body["assistant_id"] = made["assistant_id"]
    else:
        made = call("alice", "post", "/threads").json()
        crons = f"/threads/{made['thread_id']}/runs/crons"
    cron = call("alice", "post", crons, body).json()["cron_id"]
    path = f"/runs/crons/{cron}"

    by_bob = call("bob", "post", f"{path}/run")
    runs = Run.objects.count()
    by_alice = call("alice", "post", f"{path}/run")

    assert call("bob", "get", path).status_code == 200
    assert (by_bob.status_code, runs) == (404, 0)
    assert by_alice.status_code == 200


STAMPED_RUNS = (
    BY_NAME
    + """
@auth.on.threads.create_run
async def own(ctx, value):
    mine = {"owner": ctx.user.identity}
    value["metadata"].update(mine)
    return mine
"""
)


def test_a_stamp_on_the_runs_of_a_cron_is_not_made_up_later(serve: Serve) -> None:
    """What a cron's metadata says goes to its runs, and to the threads of those."""
    serve(STAMPED_RUNS)
    register_system_assistants()
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    made = call("alice", "post", "/runs/crons", body).json()
    path = f"/runs/crons/{made['cron_id']}"
    forged = {"metadata": {"owner": "bob", "note": 1}}

    by_alice = call("alice", "patch", path, forged).json()
    by_bob = call("bob", "patch", path, {"input": {}}).json()

    assert by_alice["metadata"] == {"owner": "alice", "note": 1}
    assert by_bob["metadata"] == by_alice["metadata"]


def test_a_shared_cron_stays_its_owners(serve: Serve) -> None:
    serve(SHARED_CRONS)
    register_system_assistants()
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}
    made = call("alice", "post", "/runs/crons", body).json()
    path = f"/runs/crons/{made['cron_id']}"

    mine = {"metadata": {"owner": "bob", "note": 1}}
    changed = call("bob", "patch", path, mine).json()

    assert changed["metadata"] == {"owner": "alice", "note": 1}
    assert changed["payload"]["metadata"] == changed["metadata"]
    assert Cron.objects.get().owner == "alice"


def test_a_cron_of_a_thread_is_changed_by_those_who_see_the_thread(
    serve: Serve,
) -> None:
    serve(SHARED_CRONS)
    register_system_assistants()
    thread = call("alice", "post", "/threads").json()["thread_id"]
    body = {"assistant_id": "echo", "schedule": "0 0 1 1 *", "input": "cheap"}
    made = call("alice", "post", f"/threads/{thread}/runs/crons", body).json()
    path = f"/runs/crons/{made['cron_id']}"

    changes: list[Any] = [
        {"input": "cheaper"},
        {"schedule": "* * * * * *"},
        {"metadata": {"note": 1}},
        {"enabled": False},
        {"enabled": True},
    ]
    by_bob = [call("bob", "patch", path, one).status_code for one in changes]
    by_alice = [call("alice", "patch", path, one).status_code for one in changes]

    assert by_bob == [404, 404, 404, 200, 404]
    assert by_alice == [200] * 5


def configurable_of(run: Run) -> Any:
    names = tuple(Claim.__dataclass_fields__)
    return graph_config(Claim(**Run.objects.values(*names).get(pk=run.pk)))[
        "configurable"
    ]


def test_run_creation_asks_for_the_run_and_the_assistant(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
asked = []
@auth.on
async def note(ctx, value):
    asked.append((f"{ctx.resource}.{ctx.action}", sorted(value)))
    if len(asked) == 2:
        raise Auth.exceptions.HTTPException(418, repr(asked))
"""
    )
    thread = Thread.objects.create()

    response = call(
        "alice", "post", f"/threads/{thread.id}/runs", {"assistant_id": "echo"}
    )

    keys = (
        "after_seconds assistant_id if_not_exists kwargs metadata multitask_strategy "
        "prevent_insert_if_inflight run_id status thread_id"
    )
    assert response.json()["detail"] == repr(
        [("threads.create_run", keys.split()), ("assistants.read", ["assistant_id"])]
    )


# --- The store --------------------------------------------------------------------------
SCOPED_STORE = (
    BY_NAME
    + """
@auth.on.store
async def scope(ctx, value):
    namespace = tuple(value["namespace"] or ())
    if namespace[:1] != ("shared",):
        namespace = (ctx.user.identity, *namespace)
    value["namespace"] = namespace
"""
)
ITEM = {"namespace": ["notes"], "key": "k", "value": {"by": "alice"}}


def test_a_store_handler_rewrites_the_namespace(serve: Serve) -> None:
    serve(SCOPED_STORE)

    assert call("alice", "put", "/store/items", ITEM).status_code == 204

    path = "/store/items?namespace=notes&key=k"
    assert StoreItem.objects.get().path == "alice.notes"
    assert call("alice", "get", path).json()["value"] == {"by": "alice"}
    assert call("bob", "get", path).json() is None
    assert call("bob", "post", "/store/items/search").json() == {"items": []}
    assert call("bob", "delete", "/store/items", ITEM).status_code == 204
    assert StoreItem.objects.count() == 1


def test_what_a_store_handler_shares_is_shared(serve: Serve) -> None:
    serve(SCOPED_STORE)

    call("alice", "put", "/store/items", {**ITEM, "namespace": ["shared"]})

    found = call("bob", "get", "/store/items?namespace=shared&key=k")
    assert found.json()["value"] == {"by": "alice"}


def test_whatever_a_store_handler_changes_holds(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on.store.put
async def stamp(ctx, value):
    value["value"] = {**value["value"], "by": ctx.user.identity}
    value["ttl"] = 5

@auth.on.store.search
async def own(ctx, value):
    value["filter"] = {**(value["filter"] or {}), "by": ctx.user.identity}
    value["limit"] = 1
"""
    )
    call("alice", "put", "/store/items", {**ITEM, "key": "old"})
    call("alice", "put", "/store/items", ITEM)
    call("bob", "put", "/store/items", {**ITEM, "key": "of bob"})

    found = call("alice", "post", "/store/items/search", {"limit": 10}).json()

    assert [item["key"] for item in found["items"]] == ["k"]
    assert set(StoreItem.objects.values_list("key", "value__by", "ttl_minutes")) == {
        ("old", "alice", 5),
        ("k", "alice", 5),
        ("of bob", "bob", 5),
    }


def test_a_rewritten_namespace_is_checked_again(serve: Serve) -> None:
    serve(
        BY_NAME + "\n@auth.on.store\nasync def bad(ctx, value):\n"
        "    value['namespace'] = ('a.b',)\n"
    )

    assert call("alice", "put", "/store/items", ITEM).status_code == 422


@pytest.mark.parametrize("source", [BY_NAME, OWNERS], ids=["none", "for everything"])
def test_without_a_store_handler_each_has_their_own(serve: Serve, source: str) -> None:
    serve(source)

    call("alice", "put", "/store/items", ITEM)

    path = "/store/items?namespace=notes&key=k"
    assert call("alice", "get", path).json() is not None
    assert call("bob", "get", path).json() is None


def test_a_filter_for_a_shared_store_is_refused(serve: Serve) -> None:
    serve(
        SCOPED_STORE.replace(
            '    value["namespace"] = namespace', "    return {'a': 1}"
        )
    )

    assert call("alice", "put", "/store/items", ITEM).status_code == 500


# --- The start --------------------------------------------------------------------------
def test_handlers_close_the_server(
    serve: Serve, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    serve(OWNERS)
    settings.HOST = "0.0.0.0"  # noqa: S104

    check_access()

    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise ValueError('no')", "cannot load"),
        ("import no_such_module", "cannot load"),
        ("auth = 5", "is not a langgraph_sdk.Auth"),
        ("", "has no @authenticate"),
        ("@auth.authenticate\nasync def a(token): ...", "can't be given 'token'"),
    ],
)
def test_bad_handlers_stop_the_start(serve: Serve, source: str, problem: str) -> None:
    serve(source or "pass")

    with pytest.raises(SystemExit, match=problem) as stopped:
        check_access()

    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    "cache",
    [[1], {"ttl_seconds": "60"}, {"max_size": -1}, {"cache_keys": "authorization"}],
)
def test_a_bad_cache_stops_the_start(serve: Serve, cache: Any) -> None:
    serve(OWNERS, auth={"cache": cache})

    with pytest.raises(SystemExit, match=r"auth\.cache") as stopped:
        check_access()

    assert "\n" not in str(stopped.value)


def test_handlers_and_settings_exclude_each_other(
    serve: Serve, settings: LazySettings
) -> None:
    serve(OWNERS)
    settings.AUTH = ["api_key"]

    with pytest.raises(SystemExit, match="exclude each other"):
        check_access()


def test_ids_are_uuids_to_handlers(serve: Serve) -> None:
    serve(OWNERS)

    made = call("alice", "post", "/threads").json()

    assert UUID(made["thread_id"])
