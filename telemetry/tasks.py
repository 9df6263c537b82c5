"""A metric of a worker's tasks other than runs: ticks, sweeps, webhooks."""

from __future__ import annotations

import time
from typing import Any

from celery import Task
from celery.signals import task_postrun, task_prerun
from celery.states import SUCCESS
from prometheus_client import Histogram

# This task executes one run after another; their durations are other metrics.
EXECUTES_RUNS = "runs.tasks.execute_run"

task_seconds = Histogram(
    "spool_task_seconds",
    "Duration of ticks, sweeps and other tasks of this process.",
    ["task", "outcome"],
    buckets=(0.01, 0.05, 0.25, 1, 5, 30, 240),
)

# The start times of tasks that this process is executing, by their id.
_begun: dict[str, float] = {}


@task_prerun.connect
def _begin(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    if task.name != EXECUTES_RUNS:
        _begun[task_id] = time.monotonic()


@task_postrun.connect
def _end(task_id: str, task: Task[Any, Any], state: str, **_: Any) -> None:
    if (begun := _begun.pop(task_id, None)) is not None:
        outcome = "success" if state == SUCCESS else "error"
        seconds = time.monotonic() - begun
        task_seconds.labels(task.name, outcome).observe(seconds)
