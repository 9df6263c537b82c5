"""The runs that a worker holds, and the requests to stop them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from spool.runs.lifecycle import Claim
from spool.runs.worker.execution import Execution


class HeldRuns:
    """The held runs, from just before their claim until their end.

    A request to stop a run may come on any thread and at any time: while the run's
    graph is executed, before that, or even before the claim has returned.
    """

    def __init__(self) -> None:
        # The runs whose graph is being executed.
        self.executions: dict[UUID, Execution] = {}
        self._ids: list[UUID] = []
        # Requests to stop runs whose graph is not executed yet.
        self._asked: dict[UUID, str] = {}
        # The number of running claims, and requests to stop runs that they may return.
        self._claims = 0
        self._requested_while_claiming: dict[UUID, str] = {}

    def __contains__(self, run_id: UUID) -> bool:
        return run_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[UUID]:
        return iter(list(self._ids))

    def add(self, run_id: UUID) -> None:
        self._ids.append(run_id)

    def release(self, run_id: UUID) -> None:
        self._ids.remove(run_id)
        self._asked.pop(run_id, None)

    @contextmanager
    def claiming(self) -> Iterator[Callable[[Claim | None], Claim | None]]:
        """Keep requests to stop the run that is claimed within this block.

        Yields a function to call with the claim. The run is held from then on.
        """
        self._claims += 1
        try:
            yield self._claimed
        finally:
            self._claims -= 1
            if not self._claims:
                self._requested_while_claiming.clear()

    def _claimed(self, held: Claim | None) -> Claim | None:
        if held is not None:
            # In this order: see `stop`.
            self.add(held.id)
            if reason := self._requested_while_claiming.pop(held.id, None):
                self._asked[held.id] = reason
        return held

    def stop(self, run_id: UUID, reason: str) -> bool:
        """Stop a run if it is held, from any thread.

        Returns True if its graph is not executed yet; then the request is kept.
        """
        if execution := self.executions.get(run_id):
            execution.stop(reason)
            return False
        # A running claim may return this run. Keep the request first: then either the
        # claim finds the request, or the check below finds that the run is held.
        if self._claims:
            self._requested_while_claiming[run_id] = reason
        if run_id not in self:
            return False
        self._asked[run_id] = reason
        return True

    def asked(self, run_id: UUID) -> str | None:
        """How to stop the run, if that was requested before its graph was executed."""
        return self._asked.get(run_id)
