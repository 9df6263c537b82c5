"""The official `Auth` contract: what handlers may return, and its effect."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spool.access.tests.bearers import BY_NAME, OWNERS, call
from spool.access.tests.conftest import Serve
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.crons.firing import run_now
from spool.crons.models import Cron
from spool.runs.models import Run
from spool.runs.worker.inputs import graph_config
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


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
    """Even if a handler only returns a filter, and writes no metadata."""
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


def test_a_handler_changes_the_user_of_its_own_request_only(serve: Serve) -> None:
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


def test_callers_write_no_rows_that_others_see(serve: Serve) -> None:
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
    user = configurable["langgraph_auth_user"]
    assert (user.identity, user["identity"], user.get("team")) == ("alice",) * 2 + (
        "red",
    )
    assert ("team" in user, dict(user)["team"]) == (True, "red")
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


def configurable_of(run: Run) -> Any:
    return graph_config(Run.objects.get(pk=run.pk))["configurable"]


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


def test_ids_are_uuids_to_handlers(serve: Serve) -> None:
    serve(OWNERS)

    made = call("alice", "post", "/threads").json()

    assert UUID(made["thread_id"])


INJECTING = (
    OWNERS
    + """
@auth.on.threads.create_run
async def inject(ctx, value):
    configurable = value["kwargs"].setdefault("config", {}).setdefault("configurable", {})
    configurable["injected"] = "by the handler"
    configurable["langgraph_auth_user_id"] = "root"
"""
)


@pytest.mark.parametrize(
    ("given", "context"),
    [
        ({}, {}),
        ({"context": {"a": 1}}, {"a": 1}),
        ({"config": {"configurable": {"a": 1}}}, {"a": 1}),
        ({"config": {"tags": ["t"]}}, {}),
    ],
)
@pytest.mark.parametrize("by", ["request", "cron"])
def test_a_handler_may_add_what_nodes_see(
    serve: Serve, given: dict[str, Any], context: dict[str, Any], by: str
) -> None:
    serve(INJECTING)
    register_system_assistants()
    body = {"assistant_id": "echo", **given}

    if by == "cron":
        made = call("alice", "post", "/runs/crons", {**body, "schedule": "0 0 1 1 *"})
        run = run_now(Cron.objects.get())
    else:
        made = call("alice", "post", "/runs", body)
        run = Run.objects.get()

    assert made.status_code == 200
    configurable = configurable_of(run)
    assert configurable["injected"] == "by the handler"
    assert configurable["langgraph_auth_user_id"] == "alice"
    assert configurable.get("a") == context.get("a")
    assert run.kwargs["context"] == context
