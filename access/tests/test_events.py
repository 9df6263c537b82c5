"""The events that each HTTP call sends to handlers, and the keys of their values.

The wire contract's table, section 11, with what `langgraph_sdk.auth.types` adds.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spool.access.handlers import handlers
from spool.access.tests.bearers import BY_NAME, call
from spool.access.tests.conftest import Serve
from spool.assistants.services import register_system_assistants, system_assistant_id
from spool.runs.models import Run
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)

# Two, since a global handler gets no store events if the store has its own handler.
NOTES = (
    BY_NAME
    + """
asked = []

async def note(ctx, value):
    asked.append((f"{ctx.resource}.{ctx.action}", dict(value)))

auth.on(note)
auth.on.store(note)
"""
)

OF_RUN = (
    "threads.create_run: thread_id assistant_id run_id status metadata "
    "prevent_insert_if_inflight multitask_strategy if_not_exists after_seconds kwargs"
)
OF_ASSISTANT = "assistants.read: assistant_id"
SEARCHED = "threads.search: metadata values status limit offset ids"
ASSISTANTS_SEARCHED = "assistants.search: graph_id metadata limit offset"
CRONS_SEARCHED = [
    f"{event}: assistant_id thread_id limit offset metadata"
    for event in ("crons.search", "threads.search")
]
CRON_CHANGED = "crons.update: cron_id payload schedule metadata"
READ = "threads.read: thread_id metadata"
READ_RUN = "threads.read: thread_id run_id metadata"
RUN = {"assistant_id": "echo"}
CRON = {**RUN, "schedule": "0 0 1 1 *"}
ITEM = {"namespace": ["a"], "key": "k"}

TABLE: list[tuple[str, str, Any, list[str]]] = [
    ("post", "/threads", {}, ["threads.create: thread_id metadata if_exists"]),
    ("get", "/threads/{thread}", None, [READ]),
    ("get", "/threads/{thread}/state", None, [READ]),
    ("get", "/threads/{thread}/history", None, [READ]),
    ("get", "/threads/{thread}/stream", None, ["threads.read: thread_id"]),
    ("get", "/threads/{thread}/runs/{run}/join", None, [READ_RUN]),
    ("get", "/threads/{thread}/runs/{run}/stream", None, [READ_RUN]),
    ("get", "/threads/{thread}/runs/{run}", None, [READ_RUN]),
    (
        "get",
        "/threads/{thread}/runs",
        None,
        ["threads.read: thread_id", "threads.search: thread_id metadata"],
    ),
    ("patch", "/threads/{thread}", {}, ["threads.update: thread_id metadata"]),
    ("post", "/threads/search", {}, [SEARCHED]),
    ("post", "/threads/count", {}, [SEARCHED]),
    (
        "post",
        "/threads/{thread}/copy",
        None,
        [READ, "threads.create: thread_id metadata if_exists"],
    ),
    ("post", "/threads/{thread}/runs", RUN, [OF_RUN, OF_ASSISTANT]),
    ("post", "/runs", RUN, [OF_RUN, OF_ASSISTANT]),
    ("post", "/runs/stream", RUN, [OF_RUN, OF_ASSISTANT]),
    ("post", "/runs/batch", [RUN, RUN], [OF_RUN, OF_ASSISTANT] * 2),
    (
        "post",
        "/threads/{thread}/runs/{run}/cancel",
        None,
        ["threads.update: thread_id run_id metadata action"],
    ),
    (
        "post",
        "/runs/cancel",
        {"status": "all"},
        ["threads.update: thread_id metadata action"],
    ),
    (
        "post",
        "/assistants",
        {"graph_id": "echo"},
        [
            "assistants.create: assistant_id graph_id config context metadata name "
            "if_exists"
        ],
    ),
    (
        "get",
        "/assistants/{assistant}",
        None,
        ["assistants.read: assistant_id metadata"],
    ),
    (
        "get",
        "/assistants/{assistant}/graph",
        None,
        ["assistants.read: assistant_id metadata"],
    ),
    (
        "patch",
        "/assistants/{assistant}",
        {"graph_id": "echo", "config": {}, "name": "new"},
        ["assistants.update: assistant_id graph_id config name metadata"],
    ),
    (
        "post",
        "/assistants/{assistant}/latest",
        {"version": 1},
        ["assistants.update: assistant_id metadata version"],
    ),
    ("post", "/assistants/search", {}, [ASSISTANTS_SEARCHED]),
    ("post", "/assistants/count", {}, [ASSISTANTS_SEARCHED]),
    (
        "put",
        "/store/items",
        {**ITEM, "value": {}},
        ["store.put: namespace key value index ttl"],
    ),
    (
        "get",
        "/store/items?namespace=a&key=k",
        None,
        ["store.get: namespace key refresh_ttl"],
    ),
    ("delete", "/store/items", ITEM, ["store.delete: namespace key"]),
    (
        "post",
        "/store/items/search",
        {},
        ["store.search: namespace filter limit offset query refresh_ttl"],
    ),
    (
        "post",
        "/store/namespaces",
        {},
        ["store.list_namespaces: namespace suffix max_depth limit offset"],
    ),
    (
        "post",
        "/runs/crons",
        CRON,
        [
            "crons.create: payload schedule cron_id thread_id user_id end_time metadata",
            OF_RUN,
            OF_ASSISTANT,
        ],
    ),
    ("get", "/runs/crons/{cron}", None, ["crons.read: cron_id"]),
    ("get", "/runs/crons/{cron}/firings", None, ["crons.read: cron_id"]),
    (
        "patch",
        "/runs/crons/{cron}",
        {"assistant_id": "echo"},
        [CRON_CHANGED, OF_RUN, OF_ASSISTANT],
    ),
    (
        "post",
        "/runs/crons/{cron}/run",
        None,
        [CRON_CHANGED, OF_RUN, OF_ASSISTANT],
    ),
    ("post", "/runs/crons/preview", {"schedule": "@daily"}, CRONS_SEARCHED),
    ("delete", "/runs/crons/{cron}", None, ["crons.delete: cron_id"]),
    ("post", "/runs/crons/search", {}, CRONS_SEARCHED),
    ("post", "/runs/crons/count", {}, CRONS_SEARCHED),
    (
        "delete",
        "/threads/{thread}/runs/{run}",
        None,
        ["threads.delete: thread_id run_id metadata"],
    ),
    ("delete", "/assistants/{assistant}", None, ["assistants.delete: assistant_id"]),
    ("delete", "/threads/{thread}", None, ["threads.delete: thread_id"]),
]


@pytest.fixture
def ids(serve: Serve, transactional_db: None) -> dict[str, str]:
    serve(NOTES)
    register_system_assistants()
    thread = make("/threads", {"metadata": {"graph_id": "echo"}})["thread_id"]
    return {
        "thread": thread,
        "run": make(f"/threads/{thread}/runs", RUN)["run_id"],
        "assistant": make("/assistants", {"graph_id": "echo"})["assistant_id"],
        "cron": make("/runs/crons", CRON)["cron_id"],
    }


def make(path: str, body: Any) -> Any:
    return call("alice", "post", path, body).json()


def asked() -> list[tuple[str, dict[str, Any]]]:
    found: Any = handlers()
    noted: list[Any] = found._auth._global_handlers[-1].__globals__["asked"]
    return noted


def test_handlers_are_asked_what_the_contract_says(ids: dict[str, str]) -> None:
    """One test, in this order: calls that delete come after calls that read."""
    found = {}
    for method, path, body, _ in TABLE:
        asked().clear()
        response = call("alice", method, path.format(**ids), body)
        assert response.status_code < 300, (path, response.content)
        found[f"{method} {path}"] = [(event, set(value)) for event, value in asked()]

    assert found == {
        f"{method} {path}": [
            (event, set(keys.split()))
            for event, _, keys in (line.partition(": ") for line in expected)
        ]
        for method, path, _, expected in TABLE
    }


@pytest.mark.parametrize(
    "write", [str, str.upper, lambda text: "{" + text.replace("-", "") + "}"]
)
def test_an_assistant_goes_by_one_name(ids: dict[str, str], write: Any) -> None:
    """Otherwise a handler that refuses assistants by id could be bypassed."""
    asked().clear()
    named = write(ids["assistant"])

    assert call("alice", "post", "/runs", {"assistant_id": named}).status_code == 200
    assert call("alice", "post", "/runs", RUN).status_code == 200

    told = [value["assistant_id"] for _, value in asked()]
    assert told == [UUID(ids["assistant"])] * 2 + [system_assistant_id("echo")] * 2


def test_each_thread_that_is_pruned_is_asked_about(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on.threads.delete
async def only_some(ctx, value):
    if value["thread_id"].int == 1:
        return False
    return {"owner": ctx.user.identity}
@auth.on.threads.create
async def own(ctx, value):
    return {"owner": ctx.user.identity}
"""
    )
    mine = [make("/threads", {})["thread_id"] for _ in range(2)]
    theirs = call("bob", "post", "/threads", {}).json()["thread_id"]
    kept = make("/threads", {"thread_id": str(UUID(int=1))})["thread_id"]

    both = make("/threads/prune", {"thread_ids": [*mine, theirs, *mine]})
    refused = call("alice", "post", "/threads/prune", {"thread_ids": [kept]})

    assert both == {"pruned_count": 2}
    assert refused.status_code == 403
    assert {str(pk) for pk in Thread.objects.values_list("pk", flat=True)} == {
        theirs,
        kept,
    }


def test_a_handler_is_told_how_a_run_is_to_go(ids: dict[str, str]) -> None:
    asked().clear()
    body = {**RUN, "context": {"a": 1}, "interrupt_before": "*"}

    call("alice", "post", "/runs", body)

    kwargs = asked()[0][1]["kwargs"]
    assert (kwargs["context"], kwargs["interrupt_before"]) == ({"a": 1}, "*")


def test_a_handler_for_all_may_count_on_the_metadata(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on
async def own(ctx, value):
    if ctx.action != "read":
        value["metadata"]["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}
"""
    )
    register_system_assistants()
    cron = make("/runs/crons", CRON)["cron_id"]

    for path, body in (
        ("/runs/crons/preview", {"schedule": "@daily"}),
        ("/runs/crons/search", {}),
        (f"/runs/crons/{cron}/run", None),
    ):
        assert call("alice", "post", path, body).status_code == 200


def test_a_cron_is_given_no_assistant_that_its_owner_may_not_use(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on.assistants.read
async def only_some(ctx, value):
    return str(value["assistant_id"]) != "{forbidden}"
""".format(forbidden=system_assistant_id("echo"))
    )
    register_system_assistants()
    other = make("/assistants", {"graph_id": "echo"})["assistant_id"]
    cron = make("/runs/crons", {**CRON, "assistant_id": other})["cron_id"]

    for body in (RUN, {"assistant_id": str(system_assistant_id("echo"))}):
        response = call("alice", "patch", f"/runs/crons/{cron}", body)
        assert response.status_code == 403

    assert not Run.objects.exists()
