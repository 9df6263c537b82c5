"""`priority.path` of langgraph.json: called once for each thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from spool.access.tests.people import Client
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import write_echo
from spool.crons.firing import fire_due, run_now
from spool.crons.models import Cron
from spool.protocols.a2a.tests.calling import Caller
from spool.runs import priority
from spool.runs.models import Run
from spool.runs.tests.conftest import ECHO
from spool.runs.tests.executing import forget_config
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

HEAD = """
import json, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from langgraph_sdk import Priority

priority = Priority()
ASKED = Path(__file__).with_name("asked")

@priority.assign
async def assign(ctx):
    with ASKED.open("a") as file:
        file.write(json.dumps([ctx.user.identity, ctx.thread_id, ctx.graph_id,
            ctx.thread_metadata, ctx.run_metadata, ctx.cron_id]) + "\\n")
"""

ECHO_MESSAGES = """
from langgraph.graph import MessagesState, StateGraph

echo = StateGraph(MessagesState)
echo.add_node("echo", lambda state: {})
echo.set_entry_point("echo")
"""


@pytest.fixture
def assign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Configure an `@assign` function whose body ends with these lines."""

    def assign(lines: str) -> None:
        body = "".join(f"    {line}\n" for line in dedent(lines).splitlines())
        (tmp_path / "first.py").write_text(HEAD + body)
        path = write_echo(tmp_path, priority={"path": "./first.py:priority"})
        monkeypatch.setattr("django.conf.settings.LANGGRAPH_CONFIG", path)
        forget_config()
        priority.assign_function.cache_clear()
        register_system_assistants()

    yield assign
    monkeypatch.undo()
    forget_config()
    priority.assign_function.cache_clear()


def asked(folder: Path) -> list[Any]:
    file = folder / "asked"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_thread_is_asked_about_once(
    alice_client: Client, assign: Any, tmp_path: Path, thread: Thread
) -> None:
    assign("return {'priority': -3, 'fairness_group': 'org1'}")
    path = f"/threads/{thread.id}/runs"

    made = [
        alice_client.call("post", path, {**ECHO, "metadata": {"n": n}})
        for n in range(2)
    ]

    assert [response.status_code for response in made] == [200, 200]
    [[identity, thread_id, graph_id, of_thread, of_run, cron_id]] = asked(tmp_path)
    assert (identity, thread_id, graph_id) == ("alice", str(thread.id), "echo")
    assert of_thread == {"owner": "alice"}
    assert (of_run["n"], cron_id) == (0, None)
    assert set(Run.objects.values_list("fairness_group", "queue_rank")) == {
        ("org1", -29)
    }
    thread.refresh_from_db()
    assert (thread.priority, thread.fairness_group) == (-3, "org1")


def test_a_new_thread_gets_what_was_answered(
    alice_client: Client, assign: Any, tmp_path: Path
) -> None:
    assign("return None")

    response = alice_client.call("post", "/runs", ECHO)

    assert response.status_code == 200
    assert asked(tmp_path)[0][1] is None
    assert Thread.objects.get().priority == 0
    assert Run.objects.get().queue_rank == 1


@pytest.mark.parametrize(
    "answer",
    [
        "return {'priority': 6}",
        "return {'priority': 'high'}",
        "return {'fairness_group': 'x' * 257}",
        "raise RuntimeError('secret')",
    ],
)
def test_a_bad_answer_refuses_the_run(
    alice_client: Client, assign: Any, thread: Thread, answer: str
) -> None:
    assign(answer)

    response = alice_client.call("post", f"/threads/{thread.id}/runs", ECHO)

    assert response.status_code == 500
    assert "secret" not in response.content.decode()
    assert not Run.objects.exists()
    thread.refresh_from_db()
    assert thread.priority is None


def test_a_cron_is_named(alice_client: Client, assign: Any, tmp_path: Path) -> None:
    assign("return {'priority': 2}")
    body = {**ECHO, "schedule": "0 0 1 1 *"}
    cron_id = alice_client.call("post", "/runs/crons", body).json()["cron_id"]

    run = run_now(Cron.objects.get(pk=cron_id))

    assert asked(tmp_path)[-1][-1] == cron_id
    assert run.queue_rank == 22


def test_crons_that_fire_together_are_named(
    alice_client: Client, assign: Any, tmp_path: Path
) -> None:
    assign("return {'priority': 2, 'fairness_group': ctx.cron_id}")
    body = {**ECHO, "schedule": "0 0 1 1 *"}
    crons = {
        alice_client.call("post", "/runs/crons", body).json()["cron_id"]
        for _ in range(3)
    }
    Cron.objects.update(next_run_date="2020-01-01T00:00Z")

    assert fire_due() == 3

    assert {last for *_, last in asked(tmp_path)} == crons
    assert set(Run.objects.values_list("fairness_group", "queue_rank")) == {
        (cron_id, 22) for cron_id in crons
    }


@pytest.mark.django_db(transaction=True)
def test_a_task_of_a2a_has_the_priority_of_its_context(
    alice_client: Client, assign: Any, tmp_path: Path
) -> None:
    assign("return {'priority': -3, 'fairness_group': 'org1'}")
    (tmp_path / "echo.py").write_text(ECHO_MESSAGES)
    forget_config()
    calls = Caller(alice_client)

    first = calls.send("hi")
    calls.send("and now?", contextId=first["contextId"])

    [[identity, _, graph_id, *_]] = asked(tmp_path)
    assert (identity, graph_id) == ("alice", "echo")
    ranks = Run.objects.values_list("fairness_group", "queue_rank")
    assert list(ranks) == [("org1", -29)] * 2


def test_threads_do_not_show_it(
    alice_client: Client, assign: Any, thread: Thread
) -> None:
    assign("return {'priority': 2}")
    alice_client.call("post", f"/threads/{thread.id}/runs", ECHO)

    shown = alice_client.call("get", f"/threads/{thread.id}").json()

    assert "priority" not in shown
    assert "fairness_group" not in shown
