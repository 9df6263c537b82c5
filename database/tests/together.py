"""For tests of concurrency: threads that start together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from django.db import connections


def at_once(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of the jobs, each in a separate thread; all start together."""
    barrier = threading.Barrier(len(jobs))

    def one(job: Callable[[], Any]) -> Any:
        barrier.wait(60)
        return closing(job)()

    pool = ThreadPoolExecutor(len(jobs))
    running = [pool.submit(one, job) for job in jobs]
    # With a timeout: a job may wait for a lock that the test itself holds.
    wait(running, timeout=120)
    pool.shutdown(wait=False)
    return [job.result(timeout=0) for job in running]


def closing(job: Callable[[], Any]) -> Callable[[], Any]:
    """The job, which closes its thread's connection at the end."""

    def run() -> Any:
        try:
            return job()
        finally:
            connections.close_all()

    return run
