"""Bob requests alice's objects from every route, and learns nothing about them.

There are three requests for each route: alice's own, which must succeed; bob's for the
same objects; and bob's for objects that don't exist. The last two must get the same
response, which shows nothing of alice's, and must not change her objects.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.http import StreamingHttpResponse

from spool.access.scopes import ACTIONS
from spool.access.tests.conftest import EXAMPLES, Serve
from spool.access.tests.people import Client, Person, streamed
from spool.access.tests.routes import PUBLIC, Route, routes
from spool.access.views import ScopedViewSet
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.crons.models import Cron
from spool.runs.models import Run
from spool.store.models import StoreItem
from spool.threads.models import Thread
from spool.webhooks.models import PushConfig
from spool.webhooks.secrets import encrypt

SECRET = "only alice knows 4711"

Ids = dict[str, str]


# --- Every route is authorized --------------------------------------------------------
@pytest.mark.parametrize("route", routes(), ids=str)
def test_every_route_has_an_event(route: Route) -> None:
    assert issubclass(route.view, ScopedViewSet), "it can't ask the policy"
    resource, _, action = route.view.events[route.action].partition(".")
    assert action in ACTIONS[resource]


def test_every_operation_that_is_documented_is_walked(client: Any) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    documented = {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations
        if path not in PUBLIC
    }

    assert documented
    assert documented <= {str(route) for route in routes()}


def test_no_view_forgets_to_authenticate(api_keys: None, client: Any) -> None:
    for route in [one for one in routes() if not one.is_public]:
        path = route.path.replace("{", "").replace("}", "")
        response = getattr(client, route.method)(path, content_type="application/json")
        assert response.status_code == 401, str(route)
        assert response.json()["detail"], str(route)


# --- All routes -----------------------------------------------------------------------
RUN = {"assistant_id": "{assistant_id}", "input": {"messages": []}}
CRON = {"assistant_id": "{assistant_id}", "schedule": "* * * * *"}
MESSAGE = {
    "messageId": "m",
    "role": "ROLE_USER",
    "parts": [{"text": "hi"}],
    "taskId": "{id}",
}
ITEM = {"namespace": ["notes"], "key": "{key}"}

# Request bodies, with alice's ids for the names in braces. Routes that take a body and
# are not listed get an empty one.
BODIES: dict[str, Any] = {
    "POST /assistants": {"graph_id": "memory"},
    "POST /assistants/{assistant_id}/latest": {"version": 1},
    "PATCH /assistants/{assistant_id}": {"name": "bob's now"},
    "POST /threads/prune": {"thread_ids": ["{thread_id}"]},
    "POST /threads/search": {"ids": ["{thread_id}"]},
    "PATCH /threads/{thread_id}": {"metadata": {"owner": "bob"}},
    "POST /threads/{thread_id}/state": {"values": {"messages": []}},
    "POST /threads/{thread_id}/state/checkpoint": {
        "checkpoint": {"checkpoint_id": "{checkpoint_id}"}
    },
    "POST /threads/{thread_id}/commands": {
        "id": 1,
        "method": "state.get",
        "params": {"namespace": []},
    },
    "POST /threads/{thread_id}/stream/events": {"channels": ["values"]},
    "POST /runs": RUN,
    "POST /runs/wait": RUN,
    "POST /runs/stream": RUN,
    "POST /runs/batch": [RUN],
    "POST /runs/cancel": {"thread_id": "{busy_id}", "run_ids": ["{waiting_id}"]},
    "POST /threads/{thread_id}/runs": {**RUN, "assistant_id": "memory"},
    "POST /threads/{thread_id}/runs/wait": {**RUN, "assistant_id": "memory"},
    "POST /threads/{thread_id}/runs/stream": {**RUN, "assistant_id": "memory"},
    "POST /runs/crons": CRON,
    "POST /threads/{thread_id}/runs/crons": {**CRON, "assistant_id": "memory"},
    "POST /runs/crons/search": {"thread_id": "{thread_id}"},
    "POST /runs/crons/count": {"thread_id": "{thread_id}"},
    "POST /runs/crons/preview": {"schedule": "* * * * *"},
    "PATCH /runs/crons/{cron_id}": {"metadata": {"owner": "bob"}},
    "PUT /store/items": {**ITEM, "value": {"by": "the caller"}},
    "DELETE /store/items": ITEM,
    "POST /store/items/search": {"namespace_prefix": []},
    "POST /a2a/{assistant_id}": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "GetTask",
        "params": {"id": "{id}"},
    },
    "POST /a2a/{assistant_id}/message:send": {"message": MESSAGE},
    "POST /a2a/{assistant_id}/message:stream": {"message": MESSAGE},
    "POST /a2a/{assistant_id}/tasks/{id}/pushNotificationConfigs": {
        "url": "https://93.184.215.14/"
    },
    "POST /mcp": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "memory",
            "arguments": {"thread_id": "{thread_id}", "resume": "mine"},
        },
    },
}
QUERIES = {
    "GET /store/items": "?namespace=notes&key={key}",
    "GET /.well-known/agent-card.json": "?assistant_id={assistant_id}",
    "GET /a2a/{assistant_id}/tasks": "?contextId={thread_id}&includeArtifacts=true",
}
# The newest version of A2A.
VERSION = {"HTTP_A2A_VERSION": "1.0"}
# Routes that need a waiting run of alice's.
OF_A_WAITING_RUN = {
    "POST /threads/{thread_id}/runs/{run_id}/cancel",
    "POST /a2a/{assistant_id}/tasks/{id}:cancel",
}
# These create objects of the caller's own, so no two responses are the same.
MAKES_NEW = {"POST /assistants", "POST /threads"}


@pytest.fixture
def ids(alice_client: Client, transactional_db: None) -> Ids:
    return everything(alice_client)


def everything(alice_client: Client) -> Ids:
    """One object of each kind, all alice's."""
    register_system_assistants()
    make = Maker(alice_client)
    assistant = make(
        "/assistants",
        {
            "graph_id": "memory",
            "name": SECRET,
            "metadata": {"note": SECRET},
            "context": {"note": SECRET},
        },
    )["assistant_id"]
    metadata = {"graph_id": "memory", "note": SECRET}
    thread = make("/threads", {"metadata": metadata})["thread_id"]
    messages = {"messages": [{"role": "user", "content": SECRET}]}
    state = make(f"/threads/{thread}/state", {"values": messages})
    run = {"assistant_id": assistant, "input": {"note": SECRET}}
    ended = make(f"/threads/{thread}/runs", {**run, "metadata": {"note": SECRET}})
    Run.objects.filter(pk=ended["run_id"]).update(status="success")
    Thread.objects.filter(pk=thread).update(status="idle")
    busy = make("/threads", {"metadata": metadata})["thread_id"]
    waiting = make(f"/threads/{busy}/runs", run)
    cron = make(
        f"/threads/{thread}/runs/crons",
        {"assistant_id": assistant, "schedule": "0 0 1 1 *", "input": {"x": SECRET}},
    )
    item = StoreItem.objects.create(
        owner="alice", path="notes", key="first", value={"note": SECRET}
    )
    PushConfig.objects.create(
        thread_id=thread,
        first_run_id=ended["run_id"],
        config_id="push",
        url=f"https://93.184.215.14/?{SECRET}",
        protocol="1.0",
        secrets=encrypt('{"token": "alice"}'),
    )
    return {
        "id": f"{thread}:{ended['run_id']}",
        "push_id": "push",
        "assistant_id": assistant,
        "thread_id": thread,
        "checkpoint_id": state["checkpoint_id"],
        "run_id": ended["run_id"],
        "busy_id": busy,
        "waiting_id": waiting["run_id"],
        "cron_id": cron["cron_id"],
        "namespace": "notes",
        "key": item.key,
    }


class Maker:
    def __init__(self, client: Client) -> None:
        self.client = client

    def __call__(self, path: str, body: Any) -> Any:
        response = self.client.call("post", path, body)
        assert response.status_code == 200, response.content
        return response.json()


def unknown_ids() -> Ids:
    names = ("assistant", "thread", "checkpoint", "run", "busy", "waiting", "cron")
    made = {f"{name}_id": str(uuid4()) for name in names}
    task = {"id": f"{made['thread_id']}:{made['run_id']}", "push_id": "push"}
    return {**made, **task, "namespace": "notes", "key": "first"}


def ask(client: Client, route: Route, ids: Ids) -> Any:
    if str(route) in OF_A_WAITING_RUN:
        busy, waiting = ids["busy_id"], ids["waiting_id"]
        of_waiting = {"thread_id": busy, "run_id": waiting, "id": f"{busy}:{waiting}"}
        ids = {**ids, **of_waiting}
    path = _filled(route.path + QUERIES.get(str(route), ""), ids)
    body = json.loads(_filled(json.dumps(BODIES.get(str(route), {})), ids))
    return client.call(route.method, path, body, **VERSION)


def _filled(text: str, ids: Ids) -> str:
    for name, value in ids.items():
        text = text.replace("{" + name + "}", value)
    return text


def body_of(response: Any) -> str:
    """The whole body. Bob may not read a stream that doesn't end soon."""
    if not isinstance(response, StreamingHttpResponse):
        return str(response.content.decode())
    return streamed(response)


def everything_of(owner: str) -> Any:
    """All current rows of an owner."""
    models: list[Any] = [Assistant, Thread, Run, Cron, StoreItem]
    rows = [list(m.objects.filter(owner=owner).order_by("pk").values()) for m in models]
    threads = [str(pk) for pk in Thread.objects.filter(owner=owner).values_list("pk")]
    rows.append(list(PushConfig.objects.order_by("pk").values()))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM checkpoints WHERE thread_id = ANY(%s) ORDER BY checkpoint_id",
            [threads],
        )
        return [*rows, cursor.fetchall()]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("route", routes(), ids=str)
def test_bob_learns_and_changes_nothing(
    route: Route, ids: Ids, alice_client: Client, bob_client: Client
) -> None:
    before = everything_of("alice")

    missing_ids = unknown_ids()
    missing = ask(bob_client, route, missing_ids)
    hidden = ask(bob_client, route, ids)
    shown = body_of(hidden)

    assert SECRET not in shown
    assert "alice" not in shown
    assert everything_of("alice") == before
    assert hidden.status_code == missing.status_code
    assert _anonymous(shown, ids) == _anonymous(body_of(missing), missing_ids) or (
        str(route) in MAKES_NEW
    )
    assert ask(alice_client, route, ids).status_code < 400


HANDLERS = """
@auth.authenticate
async def authenticate(headers: dict):
    return headers[b"x-api-key"].decode()

@auth.on
async def own(ctx, value):
    value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}
"""


@pytest.fixture
def _handlers(serve: Serve) -> None:
    memory = f"{EXAMPLES.parent / 'memory.py'}:graph"
    serve(HANDLERS, graphs={"memory": memory})


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_handlers")
def test_bob_learns_no_more_from_handlers() -> None:
    """The same requests with handlers from langgraph.json."""
    alice, bob = (Client(Person(name, key=name)) for name in ("alice", "bob"))
    ids, missing_ids = everything(alice), unknown_ids()
    before = everything_of("alice")
    learned = {}

    for route in routes():
        missing = ask(bob, route, missing_ids)
        hidden = ask(bob, route, ids)
        shown, expected = body_of(hidden), body_of(missing)
        learned[str(route)] = {
            "secret": SECRET in shown or "alice" in shown,
            "status": hidden.status_code - missing.status_code,
            "body": str(route) not in MAKES_NEW
            and _anonymous(shown, ids) != _anonymous(expected, missing_ids),
        }

    nothing = {"secret": False, "status": 0, "body": False}
    assert learned == {str(route): nothing for route in routes()}
    assert everything_of("alice") == before


def _anonymous(text: str, ids: Ids) -> str:
    for name, value in ids.items():
        text = text.replace(value, name)
    return text
