"""The fields for where a run begins and stops, and for what happens to its thread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from spool.tests.company import hold
from spool.tests.compat.fields import proves
from spool.tests.compat.runs import HI, Runs
from spool.tests.live import wait_until


# --- From where, and to where ----------------------------------------------------------
@pytest.mark.e2e
@proves(
    "checkpoint_id",
    "one of the thread's history",
    "continues from there, as a fork; unknown ones: 404",
)
def test_checkpoint_id_forks(runs: Runs) -> None:
    runs.wait("slow", input={"delay": 0})
    after_two = state_with(runs, ["step1", "step2"])

    runs.wait("slow", checkpoint_id=after_two["checkpoint"]["checkpoint_id"])

    newest = runs.history()[0]
    assert newest["values"]["log"] == [f"step{n}" for n in range(1, 6)]
    assert len([s for s in runs.history() if s["next"] == ["s4"]]) == 2
    assert runs.refused("slow", checkpoint_id="junk")[0] == 422
    assert runs.refused("slow", checkpoint_id=str(uuid4()))[0] == 404
    assert runs.history()[0]["values"] == newest["values"]


@pytest.mark.e2e
@proves(
    "checkpoint",
    "as in a thread's state",
    "continues from there, as a fork; one of another thread: 422",
)
def test_checkpoint_forks(runs: Runs) -> None:
    runs.wait("slow", input={"delay": 0})
    checkpoint = state_with(runs, ["step1", "step2"])["checkpoint"]

    values = runs.wait("slow", input={"n": 7}, checkpoint=checkpoint)

    assert values["n"] == 7
    assert values["log"][:3] == ["step1", "step2", "step1"]
    elsewhere = {**checkpoint, "thread_id": str(uuid4())}
    assert runs.refused("slow", checkpoint=elsewhere)[0] == 422


def state_with(runs: Runs, log: list[str]) -> dict[str, Any]:
    return next(s for s in runs.history() if s["values"].get("log") == log)


@pytest.mark.e2e
@proves("interrupt_before", "node names or `*`", "stops before them")
@pytest.mark.parametrize(("given", "log"), [(["s3"], 2), ("*", 0)])
def test_interrupt_before_stops_there(runs: Runs, given: Any, log: int) -> None:
    values = runs.wait("slow", input={"delay": 0}, interrupt_before=given)

    assert len(values["log"]) == log
    assert runs.thread()["status"] == "interrupted"
    assert runs.refused("slow", interrupt_before="s3")[0] == 422


@pytest.mark.e2e
@proves("interrupt_after", "node names or `*`", "stops after them")
@pytest.mark.parametrize(("given", "log"), [(["s3"], 3), ("*", 1)])
def test_interrupt_after_stops_there(runs: Runs, given: Any, log: int) -> None:
    values = runs.wait("slow", input={"delay": 0}, interrupt_after=given)

    assert len(values["log"]) == log
    assert runs.thread()["status"] == "interrupted"
    assert runs.refused("slow", interrupt_after="s3")[0] == 422


@pytest.mark.e2e
@proves(
    "durability",
    "`sync`, `async`, `exit`",
    "7 checkpoints for 5 steps, or 1 with `exit`",
)
@pytest.mark.parametrize(("given", "count"), [("sync", 7), ("async", 7), ("exit", 1)])
def test_durability_says_how_often_state_is_saved(
    runs: Runs, given: str, count: int
) -> None:
    runs.wait("slow", input={"delay": 0}, durability=given)

    assert len(runs.history()) == count


@pytest.mark.e2e
@proves("checkpoint_during", "`false`", "the same as a `durability` of `exit`")
@pytest.mark.parametrize(("given", "count"), [(False, 1), (True, 7)])
def test_checkpoint_during_is_an_older_durability(
    runs: Runs, given: bool, count: int
) -> None:
    runs.wait("slow", input={"delay": 0}, checkpoint_during=given)

    assert len(runs.history()) == count


# --- Its thread ----------------------------------------------------------------------
@pytest.mark.e2e
@proves("multitask_strategy", "`reject`", "409 while the thread is busy")
def test_multitask_reject(runs: Runs) -> None:
    first = runs.create("slow", input={"delay": 30})

    assert runs.refused("echo", multitask_strategy="reject")[0] == 409
    cancel(runs, first)


def cancel(runs: Runs, run: dict[str, Any]) -> None:
    runs.http.post(f"{runs.path}/{run['run_id']}/cancel?wait=1").raise_for_status()


def held(runs: Runs, file: Path) -> dict[str, Any]:
    """A run in its third step, with two in the thread's history."""
    hold(file, "3")
    run = runs.create("steps", input={"file": str(file), "delay": 0})
    wait_until(lambda: len(runs.history()) >= 3)
    return run


@pytest.mark.e2e
@proves("multitask_strategy", "`enqueue`", "waits for its turn")
def test_multitask_enqueue(runs: Runs) -> None:
    first = runs.create("slow", input={"delay": 0.1})

    runs.wait("slow", input={"delay": 0}, multitask_strategy="enqueue")

    assert runs.status(first) == "success"
    assert len(runs.thread()["values"]["log"]) == 10


@pytest.mark.e2e
@proves(
    "multitask_strategy", "`interrupt`", "stops the active run and continues from there"
)
def test_multitask_interrupt(runs: Runs, file: Path) -> None:
    first = held(runs, file)

    runs.wait("slow", input={"delay": 0}, multitask_strategy="interrupt")

    assert runs.status(first) == "interrupted"
    assert 5 < len(runs.thread()["values"]["log"]) < 10


@pytest.mark.e2e
@proves("multitask_strategy", "`rollback`", "undoes the active run first")
def test_multitask_rollback(runs: Runs, file: Path) -> None:
    first = held(runs, file)

    runs.wait("slow", input={"delay": 0}, multitask_strategy="rollback")

    assert runs.http.get(f"{runs.path}/{first['run_id']}").status_code == 404
    assert len(runs.thread()["values"]["log"]) == 5


@pytest.mark.e2e
@proves(
    "if_not_exists", "`create`, `reject`", "creates a missing thread, or answers 404"
)
def test_if_not_exists_makes_the_thread(sync_http: httpx.Client) -> None:
    runs = Runs(sync_http, str(uuid4()))
    refused = runs.refused("echo", input=HI, if_not_exists="reject")

    runs.wait("echo", input=HI, if_not_exists="create", metadata={"purpose": "test"})

    assert refused[0] == 404
    assert runs.thread()["metadata"]["purpose"] == "test"


@pytest.mark.e2e
@proves("on_completion", "`delete`, `keep`", "whether a stateless run's thread is kept")
@pytest.mark.parametrize(("given", "status"), [("delete", 404), ("keep", 200)])
def test_on_completion_keeps_or_deletes_the_thread(
    stateless: Runs, sync_http: httpx.Client, given: str, status: int
) -> None:
    response = sync_http.post(
        "/runs/wait",
        json={"assistant_id": "echo", "input": HI, "on_completion": given},
    )

    path = response.headers["content-location"].split("/runs/")[0]
    assert sync_http.get(path).status_code == status


@pytest.mark.e2e
@proves(
    "on_disconnect", "`cancel`", "the run is interrupted when its client disconnects"
)
@pytest.mark.parametrize(
    ("given", "status", "delay"),
    [("cancel", "interrupted", 30), ("continue", "success", 0.1)],
)
@pytest.mark.parametrize("kind", ["stream", "wait"])
def test_on_disconnect_cancels_or_goes_on(
    runs: Runs, kind: str, given: str, status: str, delay: float
) -> None:
    body = {
        "assistant_id": "slow",
        "input": {"delay": delay},
        "on_disconnect": given,
    }
    with runs.http.stream("POST", f"{runs.path}/{kind}", json=body) as response:
        run = {"run_id": response.headers["content-location"].rpartition("/")[2]}
        wait_until(lambda: runs.status(run) != "pending")

    wait_until(lambda: runs.status(run) not in ("pending", "running"))

    assert runs.status(run) == status


@pytest.mark.e2e
@proves(
    "after_seconds",
    "a number",
    "the run starts after that time; until then its thread is `busy`",
)
def test_after_seconds_waits(runs: Runs) -> None:
    later = runs.create("echo", input=HI, after_seconds=3600)
    waiting = (runs.status(later), runs.thread()["status"])
    cancel(runs, later)
    before = time.monotonic()
    run = runs.create("echo", input=HI, after_seconds=1)

    runs.http.get(f"{runs.path}/{run['run_id']}/join")

    assert waiting == ("pending", "busy")
    assert time.monotonic() - before >= 0.9
    assert runs.status(run) == "success"
