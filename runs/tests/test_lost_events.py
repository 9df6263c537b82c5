"""What Redis did not take, viewers are told at the end."""

from __future__ import annotations

from typing import Any

import pytest
from redis.commands.core import AsyncScript
from redis.exceptions import OutOfMemoryError

from spool.runs.tests.executing import told
from spool.runs.tests.oddities import Executing
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("is_full", "names"),
    [(False, ["metadata", "values", "values", "end"]), (True, ["values", "end"])],
)
def test_the_final_values_come_with_the_end_where_events_were_lost(
    oddly: Executing,
    thread: Thread,
    monkeypatch: pytest.MonkeyPatch,
    is_full: bool,
    names: list[str],
) -> None:
    """Redis has no room until the run is over."""
    append = AsyncScript.__call__

    async def refuse(script: AsyncScript, keys: Any, args: Any) -> Any:
        if is_full and b"\nend\n" not in args[4]:
            raise OutOfMemoryError("command not allowed")
        return await append(script, keys, args)

    monkeypatch.setattr(AsyncScript, "__call__", refuse)

    run = oddly.execute("echo", thread)

    events = list(told(run.thread_id))
    assert [event.name for event in events] == names
    assert events[-2].data == b'{"text":""}'
