"""What handlers of the `Auth` contract change in the value that they are given."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.bearers import BY_NAME, call
from spool.access.tests.conftest import Serve
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.crons.firing import run_now
from spool.crons.models import Cron
from spool.runs.models import Run
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

CRON = {"assistant_id": "echo", "schedule": "0 0 1 1 *"}


def handler(event: str, *changes: str) -> str:
    body = "\n    ".join(changes)
    return f"{BY_NAME}\n@auth.on.{event}\nasync def change(ctx, value):\n    {body}\n"


@pytest.mark.parametrize(
    "change",
    [
        "value['kwargs']['input'] = {'by': 'handler'}",
        "value['kwargs']['input'].update(by='handler', dear=None)",
    ],
)
@pytest.mark.parametrize("by", ["request", "cron"])
def test_changes_of_a_runs_kwargs_are_used(serve: Serve, change: str, by: str) -> None:
    serve(
        handler(
            "threads.create_run", change, "value['kwargs']['stream_mode'] = ['updates']"
        )
    )
    register_system_assistants()
    given = {"input": {"dear": 1}, "stream_mode": "debug"}

    if by == "cron":
        made = call("alice", "post", "/runs/crons", {**CRON, **given})
        run = run_now(Cron.objects.get())
    else:
        made = call("alice", "post", "/runs", {"assistant_id": "echo", **given})
        run = Run.objects.get()

    assert made.status_code == 200, made.text
    assert run.kwargs["input"]["by"] == "handler"
    assert not run.kwargs["input"].get("dear")
    assert run.kwargs["stream_mode"] == ["updates"]


def test_changes_of_a_crons_payload_are_used(serve: Serve) -> None:
    serve(handler("crons", "value['payload']['input'] = 'of the handler'"))
    register_system_assistants()
    made = call("alice", "post", "/runs/crons", {**CRON, "input": "mine"}).json()

    patched = call("alice", "patch", f"/runs/crons/{made['cron_id']}", {"input": "x"})

    assert made["payload"]["input"] == "of the handler"
    assert patched.json()["payload"]["input"] == "of the handler"


def test_what_is_added_for_an_editor_is_not_stored_with_a_cron(serve: Serve) -> None:
    serve(
        handler(
            "threads.create_run",
            "config = value['kwargs']['config']",
            "config['configurable']['added_for'] = ctx.user.identity",
        )
    )
    register_system_assistants()
    config = {"configurable": {"a": 1}}
    made = call("alice", "post", "/runs/crons", {**CRON, "config": config}).json()

    call("bob", "patch", f"/runs/crons/{made['cron_id']}", {"config": config})

    cron = Cron.objects.get()
    assert cron.payload["config"]["configurable"] == {
        "a": 1,
        "cron_id": made["cron_id"],
    }
    configurable = run_now(cron).kwargs["config"]["configurable"]
    assert configurable["added_for"] == "alice"


def test_changes_of_an_assistants_config_are_used(serve: Serve) -> None:
    serve(handler("assistants", "value['config']['tags'] = ['of the handler']"))
    body = {"graph_id": "echo", "config": {}}

    made = call("alice", "post", "/assistants", body).json()

    assert made["config"]["tags"] == ["of the handler"]


@pytest.mark.parametrize(
    "change",
    ["value['metadata']['team'] = 'red'", "value['metadata'] = {'team': 'red'}"],
)
@pytest.mark.parametrize("path", ["/threads", "/assistants", "/runs/crons"])
def test_a_search_has_the_filter_that_a_handler_changed(
    serve: Serve, change: str, path: str
) -> None:
    serve(
        BY_NAME
        + f"\n@auth.on(actions='search')\nasync def f(ctx, value):\n    {change}"
    )
    for team in ("red", "blue"):
        metadata: dict[str, Any] = {"team": team}
        Thread.objects.create(metadata=metadata)
        Assistant.objects.create(graph_id="echo", metadata=metadata)
        Cron.objects.create(
            metadata=metadata, assistant_id=Assistant().id, enabled=False
        )

    found = call("alice", "post", f"{path}/search", {}).json()

    assert [row["metadata"] for row in found] == [{"team": "red"}]
    assert call("alice", "post", f"{path}/count", {}).json() == 1
