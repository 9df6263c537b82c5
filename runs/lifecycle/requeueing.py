"""Makes running runs pending again, and holds back runs of paused assistants."""

from __future__ import annotations

from uuid import UUID

from django.db import connection

from spool.database.pool import Pool
from spool.runs import record
from spool.runs.lifecycle.claiming import Claim
from spool.runs.lifecycle.turns import FIRST, QUEUE
from spool.runs.record import NOTHING, Record

HAND_BACK = f"""
WITH ended AS (
    SELECT * FROM runs
    WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
    FOR NO KEY UPDATE
), handed_back AS (
    UPDATE runs SET status = 'pending', worker_id = NULL,
        updated_at = clock_timestamp(), dispatched_at = clock_timestamp()
    FROM ended WHERE runs.id = ended.id
    RETURNING runs.id, runs.graph_id, runs.fairness_group
), {QUEUE.format(moved="handed_back")}, {record.handed_back()}
SELECT id FROM handed_back
"""

# A run that its worker does not know of is treated like a run whose worker died.
LET_GO = """
UPDATE runs SET worker_id = NULL
WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
"""

# Hands runs of dead workers to other workers, up to `max_attempts`. Locked rows wait
# for the next tick. If a run was claimed again in between, Postgres rechecks its row
# but not the subquery on workers, so the join compares the attempt.
TAKE_BACK = f"""
WITH lost AS MATERIALIZED (
    SELECT id, attempt FROM runs
    WHERE status = 'running' AND losses + 1 < %(max_attempts)s AND NOT EXISTS (
        SELECT FROM workers WHERE workers.id = runs.worker_id AND expired_at IS NULL
    )
), held AS (
    SELECT runs.* FROM runs JOIN lost USING (id, attempt)
    WHERE runs.status = 'running' FOR NO KEY UPDATE OF runs SKIP LOCKED
), {record.lost("held")}, taken_back AS (
    UPDATE runs SET status = 'pending', worker_id = NULL, losses = runs.losses + 1,
        updated_at = clock_timestamp(), dispatched_at = clock_timestamp()
    FROM held WHERE runs.id = held.id
    RETURNING runs.id, runs.graph_id, runs.fairness_group
), {QUEUE.format(moved="taken_back")}
SELECT id FROM taken_back
"""

# A worker may have expired since `TAKE_BACK`: its runs may have attempts left.
LOST_TOO_OFTEN = """
SELECT id FROM runs
WHERE status = 'running' AND losses + 1 >= %(max_attempts)s AND NOT EXISTS (
    SELECT FROM workers WHERE workers.id = runs.worker_id AND expired_at IS NULL
)
"""

# Takes the pending runs of an assistant out of the queue, as if their turn had not come.
# Claims do the same with runs that are created later, or that are locked now.
HOLD_BACK = """
UPDATE runs SET dispatched_at = NULL
WHERE id IN (
    SELECT id FROM runs WHERE status = 'pending' AND dispatched_at IS NOT NULL
        AND assistant_id = %(assistant_id)s
    FOR NO KEY UPDATE SKIP LOCKED
)
"""

# Puts them into the queue again. No message is sent: the tick wakes workers for them.
LET_IN = f"""
WITH let_in AS (
    UPDATE runs SET dispatched_at = created_at
    WHERE id IN (
        SELECT id FROM runs
        WHERE status = 'pending' AND dispatched_at IS NULL
            AND assistant_id = %(assistant_id)s
            AND created_at <= clock_timestamp() AND {FIRST}
        FOR NO KEY UPDATE SKIP LOCKED
    )
    RETURNING graph_id, fairness_group
), {QUEUE.format(moved="let_in")}
SELECT FROM let_in
"""


async def hand_back(pool: Pool, held: Claim, written: Record = NOTHING) -> bool:
    """Release a run, so that another worker resumes it from its last checkpoint."""
    params = written.params | {"run_id": held.id, "attempt": held.attempt}
    async with pool.connection() as conn:
        return (await conn.execute(HAND_BACK, params)).rowcount > 0


def take_back(*, max_attempts: int) -> list[UUID]:
    """Release all runs whose worker is gone. Returns the ids of those to resume."""
    return _ids(TAKE_BACK, max_attempts=max_attempts)


def lost_too_often(*, max_attempts: int) -> list[UUID]:
    """Find running runs that have no worker, and no attempts left."""
    return _ids(LOST_TOO_OFTEN, max_attempts=max_attempts)


def hold_back(assistant_id: UUID) -> None:
    """Take the pending runs of a paused assistant out of the queue."""
    _execute(HOLD_BACK, assistant_id)


def let_in(assistant_id: UUID) -> None:
    """Put the pending runs of an assistant into the queue, after its pause."""
    _execute(LET_IN, assistant_id)


def _execute(statement: str, assistant_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"assistant_id": assistant_id})


def _ids(statement: str, **params: float) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return [run_id for (run_id,) in cursor.fetchall()]
