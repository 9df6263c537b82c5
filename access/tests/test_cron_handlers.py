"""Crons under handlers for threads, and under handlers for crons."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.bearers import BY_NAME, OWNERS, call
from spool.access.tests.conftest import Serve
from spool.assistants.services import register_system_assistants
from spool.crons.models import Cron
from spool.runs.models import Run

pytestmark = pytest.mark.django_db

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
    """Except for a search, where the official server checks threads as well."""
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
    """Its runs are its creator's, so a change could expose the creator's data."""
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
    """A cron's metadata is copied to its runs, and to their threads."""
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
