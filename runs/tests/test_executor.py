"""What a run can end with, executed here, on Postgres and Redis, without Celery."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from access.policy import EVERYTHING
from assistants.graphs import registry
from assistants.models import Assistant
from assistants.schemas import drawable_graph
from assistants.services import register_system_assistants
from assistants.tests.served import serving
from config.errors import Unprocessable
from config.ids import uuid7
from config.loop import Loop, Pool, shared_loop
from runs import events, lifecycle, services
from runs.events import decode, parse_id, stream_key
from runs.executor import HAND_BACK, Executor, described
from runs.lifecycle import Claim, Ended, Outcome
from runs.models import Run, Worker
from runs.serializers import RunRequest
from runs.tests.conftest import forget_config
from store.models import StoreItem
from threads.checkpoints import LostRun
from threads.models import Thread
from threads.services import delete_threads
from threads.state import get_history, get_state, state_update, update_state

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG = Path(__file__).parent / "langgraph.json"
CHECKPOINT_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


@pytest.fixture(scope="module", autouse=True)
def _graphs(graphs: Path) -> Iterator[None]:
    """The graphs of `agents.py`, instead of the one that the other tests have."""
    with serving(CONFIG, forget_config):
        yield


@pytest.fixture(autouse=True)
def _assistants(db: None) -> None:
    register_system_assistants()


class Here:
    """A worker in this process: `start` executes a run beside the test."""

    def __init__(self) -> None:
        self.loop = Loop(name="test", pool_size=10)
        self.row = Worker.objects.create(hostname="here", pid=1, capacity=10)
        self.executor = self.loop.run(self._new_executor())
        self._threads = ThreadPoolExecutor()

    async def _new_executor(self) -> Executor:
        redis = events.new_async_redis()
        return Executor(self.loop.pool, redis, lambda: self.row.id)

    def execute(self, run: Run) -> Ended | None:
        return self.loop.run(self.executor.execute(run.id))

    def start(self, run: Run) -> Future[Ended | None]:
        return self._threads.submit(self.execute, run)

    def stop(self, run: Run, reason: str) -> None:
        self.executor.executions[run.id].stop(reason)

    def close(self) -> None:
        self._threads.shutdown()
        self.loop.run(self.executor.redis.aclose())
        self.loop.close()


@pytest.fixture
def here(db: None) -> Iterator[Here]:
    here = Here()
    yield here
    here.close()


@pytest.fixture
def make(thread: Thread, tmp_path: Path) -> Callable[..., Run]:
    """A pending run of `thread` that nobody is told of."""

    def make(graph: str = "steps", **body: Any) -> Run:
        given = {"input": {"folder": str(tmp_path)}, **body}
        request = RunRequest(data={"assistant_id": graph, **given})
        request.is_valid(raise_exception=True)
        return services.create_run(
            scope=EVERYTHING,
            thread_id=body.get("thread_id", thread.id),
            request=dict(request.validated_data),
        )

    return make


def begun(folder: Path) -> list[str]:
    file = folder / "begun"
    return file.read_text().split() if file.exists() else []


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def published(thread_id: Any) -> list[tuple[str, bytes]]:
    """The name and data of each event that viewers of the thread could read."""
    entries: Any = events.redis_client().xrange(stream_key(thread_id))
    found = []
    for entry_id, fields in entries:
        first = parse_id(entry_id.decode())
        found += [(one.name, one.data) for one in decode(first, fields[b"e"])]
    return found


def checkpoint_rows(thread_id: Any) -> int:
    with connection.cursor() as cursor:
        count = 0
        for table in CHECKPOINT_TABLES:
            cursor.execute(
                f"SELECT count(*) FROM {table} WHERE thread_id = %s",  # noqa: S608
                [str(thread_id)],
            )
            count += cursor.fetchone()[0]
        return count


def test_a_finished_run_leaves_state_events_and_an_idle_thread(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make(stream_mode=["updates"])

    assert here.execute(run) is not None

    run.refresh_from_db()
    thread.refresh_from_db()
    assert run.status == "success"
    assert (thread.status, thread.values["log"]) == ("idle", ["one", "two", "three"])
    assert [name for name, _ in published(thread.id)] == [
        "metadata",
        *["updates"] * 3,
        "end",
    ]


@pytest.fixture
def told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events that viewers could have when a run's end went to Postgres."""
    told: list[str] = []
    end = lifecycle.end

    async def noting_end(pool: Pool, held: Claim, outcome: Outcome) -> Ended | None:
        told.extend(name for name, _ in published(held.thread_id))
        events.redis_client().client_unpause()
        return await end(pool, held, outcome)

    monkeypatch.setattr("runs.lifecycle.end", noting_end)
    return told


def test_what_a_run_had_to_say_is_told_before_it_is_over(
    here: Here, make: Callable[..., Run], tmp_path: Path, told_at_the_end: list[str]
) -> None:
    (tmp_path / "go").touch()

    here.execute(make(stream_mode=["updates"]))

    assert told_at_the_end == ["metadata", *["updates"] * 3]


def test_a_redis_that_hangs_keeps_no_run_from_its_end(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    told_at_the_end: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "go").touch()
    monkeypatch.setattr("runs.events.SETTLE_PATIENCE", 0.05)
    run = make()

    events.redis_client().client_pause(30_000, all=False)
    here.start(run).result(timeout=20)

    run.refresh_from_db()
    assert (told_at_the_end, run.status) == ([], "success")
    assert published(thread.id)[-1] == ("end", b'"success"')


def test_a_state_says_whose_run_saved_it(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    whose = {"thread_id": str(thread.id), "langgraph_auth_user_id": "alice"}

    Run.objects.filter(pk=make().pk).update(user={"identity": "alice"})
    here.execute(Run.objects.get())

    [found] = get_history(Thread.objects.get(), limit=1, metadata=whose)
    assert found.metadata is not None
    assert found.metadata["user_id"] == "alice"  # type: ignore[typeddict-item]


def test_a_nodes_exception_is_the_runs_result(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    run = make("fails")

    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert run.status == thread.status == "error"
    assert run.error == {"error": "ValueError", "message": "boom happened"}
    assert run.attempt == 1  # Not an infrastructure fault: never tried again.
    assert [name for name, _ in published(thread.id)][-2:] == ["error", "end"]
    # What was done before it stays.
    assert thread.values["log"] == ["one"]


def test_a_state_that_its_graph_cannot_read_is_shown(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    run = make("unreadable")

    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert run.status == thread.status == "error"
    assert thread.error == run.error
    assert run.error["error"] == "TypeError"
    assert (thread.values["log"], thread.interrupts) == (["one"], {})


def test_a_node_that_exits_takes_only_its_own_run_with_it(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make("exits")

    here.start(run).result(timeout=20)
    here.start(after := make()).result(timeout=20)

    run.refresh_from_db()
    after.refresh_from_db()
    assert (run.status, after.status) == ("error", "success")
    assert run.error == {"error": "SystemExit", "message": "enough"}


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
    state = get_state(thread, checkpoint=oldest.config["configurable"])
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
        ("no_graph", "graph 'no_graph' can't be made: RuntimeError: no model today"),
        ("no_graph_at_all", "can't be made: SystemExit: no model ever"),
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


def test_a_run_that_takes_too_long_ends_as_timeout(
    here: Here, make: Callable[..., Run], thread: Thread, settings: Any
) -> None:
    settings.BG_JOB_TIMEOUT_SECS = 0.5
    run = make()

    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, thread.status) == ("timeout", "error")
    assert thread.error == {"error": "TimeoutError", "message": ""}


def test_an_interrupted_run_keeps_what_it_did(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    here.stop(run, "interrupt")
    done.result()

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, thread.status) == ("interrupted", "interrupted")
    assert thread.values["log"] == ["one"]
    assert published(thread.id)[-1] == ("end", b'"interrupted"')


def test_a_run_is_stopped_before_its_graph_is_made(
    here: Here, make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that came then was lost until the next heartbeat."""
    run = make()
    opened = registry().open

    def stopped_first(*args: Any, **kwargs: Any) -> Any:
        here.executor.stop(run.id, "interrupt")
        return opened(*args, **kwargs)

    monkeypatch.setattr(registry(), "open", stopped_first)

    here.start(run).result(timeout=20)

    run.refresh_from_db()
    assert run.status == "interrupted"


def test_a_run_that_is_rolled_back_leaves_nothing(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(make())
    before = checkpoint_rows(thread.id)
    (tmp_path / "go").unlink()
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path).count("two") == 2)

    here.stop(run, "rollback")
    done.result()

    thread.refresh_from_db()
    assert not Run.objects.filter(pk=run.pk).exists()
    assert checkpoint_rows(thread.id) == before
    assert (thread.status, thread.values["log"]) == ("idle", ["one", "two", "three"])


@pytest.mark.parametrize("graph", ["steps", "asks_inside"])
def test_a_wish_to_roll_back_that_comes_at_the_very_end_is_heeded(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path, graph: str
) -> None:
    (tmp_path / "go").touch()
    here.execute(make(graph))
    kept = ("status", "values", "interrupts", "error")
    before, shown = checkpoint_rows(thread.id), Thread.objects.values(*kept).get()
    (tmp_path / "go").unlink()
    answer = {"input": None, "command": {"resume": "this"}}
    run = make(graph, **(answer if graph == "asks_inside" else {}))
    done = here.start(run)
    wait_for(lambda: begun(tmp_path)[-1:] == ["two"])

    # Not heard of by the graph, which comes to its end.
    Run.objects.filter(pk=run.pk).update(cancel_action="rollback")
    (tmp_path / "go").touch()
    ended = done.result(timeout=20)

    assert ended is not None
    assert not Run.objects.filter(pk=run.pk).exists()
    assert checkpoint_rows(thread.id) == before
    assert Thread.objects.values(*kept).get() == shown
    assert published(thread.id)[-1] == ("end", b'"interrupted"')


@pytest.mark.parametrize(
    ("reason", "statuses"),
    [("interrupt", ["interrupted"]), ("rollback", []), ("too long", ["timeout"])],
)
def test_a_node_that_does_not_stop_holds_nobody_up(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    statuses: list[str],
) -> None:
    monkeypatch.setattr("runs.executor.CANCEL_PATIENCE", 0.05)
    settings.BG_JOB_TIMEOUT_SECS = 0.3 if reason == "too long" else 60
    run = make("deaf", durability="sync")
    done = here.start(run)
    wait_for((tmp_path / "begun").exists)

    if reason != "too long":
        here.stop(run, reason)
    done.result(timeout=20)
    saved, told = checkpoint_rows(thread.id), published(thread.id)
    (graph,) = (
        task
        for task in asyncio.all_tasks(here.loop.asyncio_loop)
        if task.get_name() == f"run {run.id}"
    )
    (tmp_path / "go").touch()
    wait_for(graph.done)

    assert [one.status for one in Run.objects.all()] == statuses
    # What the graph then does is not seen any more.
    assert (checkpoint_rows(thread.id), published(thread.id)) == (saved, told)
    assert begun(tmp_path) == []


def test_a_rollback_takes_back_an_answer_to_a_subgraph(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    here.execute(make("asks_inside"))
    before = checkpoint_rows(thread.id)
    run = make("asks_inside", input=None, command={"resume": "this"})
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["two"])
    here.stop(run, "rollback")
    done.result()
    thread.refresh_from_db()
    assert (thread.status, checkpoint_rows(thread.id)) == ("interrupted", before)

    (tmp_path / "go").touch()
    here.execute(make("asks_inside", input=None, command={"resume": "that"}))

    thread.refresh_from_db()
    assert (thread.status, thread.values["log"]) == ("idle", ["that", "two"])


def test_who_has_lost_a_run_takes_nothing_of_it_back(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make(durability="sync")
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    before = checkpoint_rows(thread.id)

    Run.objects.update(attempt=2)  # Another worker goes on with it.
    here.stop(run, "rollback")

    assert done.result() is None
    assert checkpoint_rows(thread.id) == before


def test_a_run_that_is_handed_over_goes_on_where_it_was(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    here.stop(run, HAND_BACK)
    handed = done.result()
    assert handed is not None
    assert handed.next_run_id == run.id

    (tmp_path / "go").touch()
    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert begun(tmp_path) == ["one", "two", "two", "three"]
    assert (run.status, run.attempt) == ("success", 2)
    assert thread.values["log"] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("body", "done"),
    [
        ({"interrupt_before": ["two"]}, ["one"]),
        ({"interrupt_before": "*"}, []),
        ({"interrupt_after": ["one"]}, ["one"]),
        ({"interrupt_after": ["three"]}, ["one", "two", "three"]),
        ({}, ["one", "two", "three"]),
    ],
)
def test_an_attempt_that_was_done_but_for_its_end_does_nothing_again(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
    done: list[str],
) -> None:
    (tmp_path / "go").touch()
    run = make(**body)

    async def die(*_: Any) -> None:
        raise LostRun

    with monkeypatch.context() as patch:
        patch.setattr("runs.lifecycle.end", die)
        assert here.execute(run) is None
    Run.objects.update(status="pending")  # As the tick does for a worker that died.
    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, run.attempt) == ("success", 2)
    assert begun(tmp_path) == done
    assert thread.values.get("log", []) == done
    assert thread.status == ("idle" if len(done) == 3 else "interrupted")


def test_a_deleted_run_takes_what_it_saved_with_it(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(first := make())
    rows = checkpoint_rows(thread.id)
    here.execute(second := make())

    services.delete_run(second)

    thread.refresh_from_db()
    assert checkpoint_rows(thread.id) == rows
    assert thread.values["log"] == get_state(thread).values["log"]
    assert (thread.status, len(thread.values["log"])) == ("idle", 3)

    services.delete_run(first)

    thread.refresh_from_db()
    assert checkpoint_rows(thread.id) == 0
    assert thread.values in (None, {})


def test_an_earlier_run_is_deleted_and_the_newest_state_stays(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(first := make())
    here.execute(make("fails"))

    services.delete_run(first)

    thread.refresh_from_db()
    assert (thread.status, thread.error["error"]) == ("error", "ValueError")
    assert get_state(thread).values["log"] == ["one", "two", "three", "one"]


def test_a_run_that_is_deleted_leaves_nothing_for_the_next_to_go_on_from(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make(durability="sync")
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    services.delete_run(run)

    assert checkpoint_rows(thread.id) == 0
    (tmp_path / "go").touch()
    assert done.result() is None
    assert checkpoint_rows(thread.id) == 0


@pytest.mark.parametrize(
    ("action", "log", "status"),
    [("interrupt", ["one"], "interrupted"), ("rollback", [], "idle")],
)
def test_a_run_is_cancelled_between_two_attempts(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    action: str,
    log: list[str],
    status: str,
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    here.stop(run, HAND_BACK)
    done.result()

    assert services.cancel_run(run, action)
    here.execute(run)

    thread.refresh_from_db()
    assert begun(tmp_path) == ["one", "two"]
    assert (thread.status, get_state(thread).values.get("log", [])) == (status, log)
    assert [one.status for one in Run.objects.all()] == ["interrupted"][: len(log)]


def test_a_thread_deleted_during_its_run_stays_deleted(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    done = here.start(make())
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    assert delete_threads(Thread.objects.filter(pk=thread.id)) == 1
    (tmp_path / "go").touch()

    assert done.result() is None
    assert not Thread.objects.exists()
    assert not Run.objects.exists()
    assert checkpoint_rows(thread.id) == 0
    assert events.newest_id(thread.id) == (0, 0)


def test_connections_that_die_together_cost_no_run(
    here: Here, make: Callable[..., Run], tmp_path: Path
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    here.loop.run(fill(here.loop.pool))

    kill_connections()
    (tmp_path / "go").touch()
    done.result()

    run.refresh_from_db()
    assert (run.status, run.attempt) == ("success", 1)
    assert begun(tmp_path) == ["one", "two", "three"]


def test_connections_that_died_while_idle_fail_no_read(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(make())
    thread.refresh_from_db()
    shared_loop().run(fill(shared_loop().pool))

    kill_connections()

    assert get_state(thread).values["log"] == ["one", "two", "three"]


async def fill(pool: Pool) -> None:
    """Open every connection that the pool may have."""

    async def use() -> None:
        async with pool.connection() as conn:
            await conn.execute("SELECT pg_sleep(0.1)")

    await asyncio.gather(*[use() for _ in range(pool.max_size)])


def kill_connections() -> None:
    """All but the test's own, as a restart of Postgres does."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )


def test_an_attempt_that_was_taken_over_writes_nothing_more(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make(durability="sync")
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    saved = checkpoint_rows(thread.id)

    # As the tick and another worker do it while this one hangs.
    Run.objects.filter(pk=run.pk).update(attempt=2)
    (tmp_path / "go").touch()

    assert done.result() is None
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("running", 2)
    assert checkpoint_rows(thread.id) == saved
    assert "end" not in [name for name, _ in published(thread.id)]


@pytest.mark.parametrize(
    ("attempt", "remembered"),
    [(1, {"put": "the run"}), (2, {"put": "somebody", "deleted": "somebody"})],
    ids=["its own", "another's"],
)
def test_only_the_attempt_that_counts_writes_to_the_store(
    attempt: int,
    remembered: dict[str, str],
    here: Here,
    make: Callable[..., Run],
    tmp_path: Path,
) -> None:
    run = make("remembers")
    for key in ("put", "deleted"):
        StoreItem.objects.create(
            owner=run.owner, path="memory", key=key, value={"by": "somebody"}
        )
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["remember"])

    Run.objects.filter(pk=run.pk).update(attempt=attempt)
    (tmp_path / "go").touch()
    done.result()

    items = StoreItem.objects.values_list("key", "value__by")
    assert dict(items) == remembered


def test_a_stateless_run_leaves_no_checkpoints(
    here: Here, make: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make(thread_id=None)

    here.execute(run)

    hidden = Thread.objects.get(pk=run.thread_id)
    assert hidden.discarded_at is not None
    assert not Thread.objects.visible_to(EVERYTHING).filter(pk=hidden.pk).exists()
    assert hidden.values["log"] == ["one", "two", "three"]
    assert checkpoint_rows(run.thread_id) == 0


def test_values_of_any_type_reach_the_row_and_the_stream(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    here.execute(make("awkward", input={}))

    thread.refresh_from_db()
    assert thread.values == {
        "person": {"name": "Ada"},
        "point": {"x": 1},
        "id": "00000000-0000-0000-0000-000000000007",
        "at": "2026-01-02T03:04:05.000000+00:00",
        "colour": "red",
        "raw": base64.b64encode(b"\x00\xff").decode(),
        "text": thread.values["text"],
    }
    assert "\x00" not in thread.values["text"]
    assert thread.values["text"].startswith("nul ")
    assert get_state(thread).values["raw"] == b"\x00\xff"


def test_a_graph_goes_on_with_the_numbers_that_it_had(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    here.execute(make("numbers", input={}))
    thread.refresh_from_db()
    by_client = state_update({"worst": 1.0, "text": "a"}, "fill")
    update_state(thread, [[by_client]])
    here.execute(make("numbers", input=None, command={"resume": "yes"}))

    values = get_state(thread).values
    assert values["seen"] == ["inf", "1e+30"]
    assert values["text"] == "a\ufffd"
    thread.refresh_from_db()
    assert thread.values["best"] is None
    assert thread.values["huge"] == 1e30


def test_secrets_of_a_request_are_not_kept_in_checkpoints(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make(config={"configurable": {"openai_api_key": "sk-secret"}})

    here.execute(run)

    with connection.cursor() as cursor:
        cursor.execute("SELECT metadata::text, checkpoint::text FROM checkpoints")
        rows = cursor.fetchall()
    assert rows
    assert "sk-secret" not in str(rows)


def test_a_clients_thread_id_in_the_config_reaches_no_other_thread(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    other = uuid7()
    run = make(config={"configurable": {"thread_id": str(other)}})

    here.execute(run)

    assert checkpoint_rows(other) == 0
    assert checkpoint_rows(thread.id) > 0


@pytest.mark.parametrize(("durability", "checkpoints"), [("exit", 1), ("async", 5)])
def test_durability_decides_how_many_checkpoints_are_kept(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    durability: str,
    checkpoints: int,
) -> None:
    (tmp_path / "go").touch()

    here.execute(make(durability=durability))

    thread.refresh_from_db()
    assert len(get_history(thread, limit=10)) == checkpoints


def test_what_a_graph_says_of_a_key_is_not_kept() -> None:
    exc = RuntimeError("401 for Bearer abcdefghij at https://me:hunter2@models.example")

    message = described(exc)["message"]

    assert message == "401 for Bearer *** at https://me:***@models.example"
