from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from spool.database.loop import close_shared_loop, shared_loop


@pytest.mark.django_db
def test_threads_that_want_the_loop_together_get_one() -> None:
    close_shared_loop()
    barrier = threading.Barrier(8)

    def want(_: int) -> object:
        barrier.wait()
        return shared_loop()

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(want, range(8)))

    assert found == {shared_loop()}
