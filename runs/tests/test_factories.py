"""Graphs that are built for one run, or for one read of its thread."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spool.access.policy import EVERYTHING
from spool.assistants.models import Assistant
from spool.assistants.schemas import drawable_graph
from spool.runs.models import Run
from spool.runs.tests.executing import Here
from spool.store.models import StoreItem
from spool.threads.models import Thread
from spool.threads.state import get_history, get_state
from spool.threads.thread_request import CheckpointRef
from spool.threads.updates import state_update, update_state
from spool.web.errors import Unprocessable

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("agents"),
]


def test_what_a_factory_raises_is_the_runs_result(
    here: Here, make: Callable[..., Run]
) -> None:
    run = make("no_graph")

    here.execute(run)

    run.refresh_from_db()
    assert run.error == {"error": "RuntimeError", "message": "no model today"}


def test_a_state_is_read_by_the_graph_that_was_made_for_its_run(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    here.execute(make("configured", config={"configurable": {"node": "mine"}}))
    thread.refresh_from_db()

    [oldest] = get_history(thread, limit=10)[-1:]
    state = get_state(
        thread, checkpoint=CheckpointRef(oldest.config["configurable"]["checkpoint_id"])
    )
    update_state(thread, [[state_update({"log": ["said"]}, "mine")]])

    assert oldest.next == state.next == ("__start__",)
    assert get_state(thread).values["log"] == ["mine", "said"]


def test_a_factory_is_told_why_its_graph_is_wanted(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    run = make("informed", context={"word": "hello"})
    here.execute(run)
    run.refresh_from_db()
    thread.refresh_from_db()

    get_state(thread)
    update_state(thread, [[state_update({"log": ["said"]}, "threads.update")]])
    drawn = drawable_graph(
        Assistant.objects.get(graph_id="informed"), EVERYTHING, False
    )

    assert run.status == "success"
    assert get_state(thread).values["log"] == ["hello", "said"]
    assert "assistants.read" in [node["id"] for node in drawn["nodes"]]
    assert {*StoreItem.objects.values_list("key", flat=True)} == {
        *("threads.create_run", "threads.read", "threads.update", "assistants.read")
    }


def test_without_a_run_a_graph_is_made_for_the_threads_config(thread: Thread) -> None:
    thread.metadata = {"graph_id": "configured"}
    thread.config = {"configurable": {"node": "mine"}}
    thread.save()

    update_state(thread, [[state_update({"log": ["said"]}, "mine")]])

    assert get_state(thread).values == {"log": ["said"]}


@pytest.mark.parametrize(
    ("graph_id", "complaint"),
    [
        (
            "no_graph",
            "graph 'no_graph' could not be built: RuntimeError: no model today",
        ),
        ("no_graph_at_all", "could not be built: SystemExit: no model ever"),
    ],
)
def test_a_graph_that_cannot_be_made_is_named(
    thread: Thread, graph_id: str, complaint: str
) -> None:
    thread.metadata, thread.values = {"graph_id": graph_id}, {}
    thread.save()

    for ask in (
        lambda: get_state(thread),
        lambda: get_history(thread, limit=1),
        lambda: update_state(thread, [[state_update({})]]),
    ):
        with pytest.raises(Unprocessable, match=complaint):
            ask()


def test_without_a_state_no_graph_has_to_be_made(thread: Thread) -> None:
    thread.metadata = {"graph_id": "no_graph"}
    thread.save()

    assert get_state(thread).values == {}
    assert get_history(thread, limit=1) == []


def test_a_graph_that_is_no_longer_served_is_a_clear_error(
    here: Here, make: Callable[..., Run]
) -> None:
    run = make()
    Run.objects.update(graph_id="gone")

    here.execute(run)

    run.refresh_from_db()
    assert run.error == {
        "error": "GraphNotFound",
        "message": "Graph 'gone' is not in langgraph.json",
    }
