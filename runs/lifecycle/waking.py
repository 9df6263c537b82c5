"""Finds pending runs for which no message has woken a worker.

The cost of a search does not depend on how many runs wait, or are paused. Runs outside
of the queue are checked once, shortly after their start time. Later searches check them
again, a few at a time, in case a race left one behind.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from spool.runs.lifecycle.turns import FIRST

# The limits of one search: runs that become ready; runs, and groups, that are checked
# again.
MAX_READY = 1000
LOOKED_AT_AGAIN = 500
GROUPS_LOOKED_AT = 100
# A transaction that takes longer than this may hide a run until it is checked again.
MARGIN_SECS = 10.0

# Most ticks find nothing, and look no further.
ANY_WAITS = """
SELECT EXISTS (
    SELECT FROM runs WHERE status = 'pending' AND dispatched_at IS NOT NULL
) OR EXISTS (
    SELECT FROM runs WHERE status = 'pending' AND dispatched_at IS NULL
        AND created_at <= clock_timestamp()
)
"""

# Makes runs ready whose turn it is: their start time has come (`after_seconds`), or a
# race left them behind. Adds groups that are missing from the queue: a race or an older
# version did not add them, or the pause of their owner has ended.
MAKE_READY = f"""
WITH RECURSIVE again AS MATERIALIZED (
    SELECT id, thread_id, assistant_id, created_at FROM runs
    WHERE status = 'pending' AND dispatched_at IS NULL
        AND created_at > coalesce(%(after)s, '-infinity'::timestamptz)
        AND created_at <= coalesce(%(until)s, '-infinity'::timestamptz)
    ORDER BY created_at FETCH FIRST {LOOKED_AT_AGAIN} ROWS WITH TIES
), due AS MATERIALIZED (
    SELECT id, created_at FROM (
        SELECT * FROM again
        UNION ALL
        SELECT id, thread_id, assistant_id, created_at FROM runs
        WHERE status = 'pending' AND dispatched_at IS NULL
            AND created_at > coalesce(%(until)s, '-infinity'::timestamptz)
            AND created_at <= clock_timestamp()
    ) AS runs
    WHERE assistant_id::text NOT IN
            (SELECT name FROM run_pauses WHERE kind = 'assistant')
        AND {FIRST}
    ORDER BY created_at LIMIT {MAX_READY}
), ready AS (
    UPDATE runs SET dispatched_at = clock_timestamp()
    WHERE id IN (
        SELECT id FROM runs
        WHERE id IN (SELECT id FROM due) AND status = 'pending'
            AND dispatched_at IS NULL
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, graph_id, fairness_group, created_at
), waiting AS (
    (SELECT graph_id, fairness_group FROM runs
    WHERE status = 'pending' AND dispatched_at IS NOT NULL
        AND (graph_id, fairness_group) > (%(graph_id)s, %(fairness_group)s)
    ORDER BY graph_id, fairness_group LIMIT 1)
    UNION ALL
    SELECT next.* FROM waiting, LATERAL (
        SELECT runs.graph_id, runs.fairness_group FROM runs
        WHERE status = 'pending' AND dispatched_at IS NOT NULL
            AND (runs.graph_id, runs.fairness_group)
                > (waiting.graph_id, waiting.fairness_group)
        ORDER BY runs.graph_id, runs.fairness_group LIMIT 1
    ) AS next
), groups AS MATERIALIZED (
    SELECT * FROM waiting LIMIT {GROUPS_LOOKED_AT}
), added AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT graph_id, fairness_group,
        CASE WHEN fairness_group IN (SELECT name FROM run_pauses WHERE kind = 'owner')
            THEN 'infinity' ELSE clock_timestamp() END
    FROM (
        SELECT graph_id, fairness_group FROM groups
        UNION
        SELECT graph_id, fairness_group FROM ready
    ) AS found
    WHERE NOT EXISTS (
        SELECT FROM run_queue
        WHERE run_queue.graph_id = found.graph_id
            AND run_queue.fairness_group = found.fairness_group AND since < 'infinity')
    ORDER BY graph_id, fairness_group
    ON CONFLICT (graph_id, fairness_group) DO UPDATE SET since = excluded.since
    WHERE run_queue.since = 'infinity' AND excluded.since < 'infinity'
)
SELECT
    ARRAY(
        SELECT id FROM ready
        WHERE graph_id NOT IN (SELECT name FROM run_pauses WHERE kind = 'graph')
            AND fairness_group NOT IN
                (SELECT name FROM run_pauses WHERE kind = 'owner')
        ORDER BY created_at, id
    ),
    CASE WHEN (SELECT count(*) FROM ready) < {MAX_READY}
        THEN now() - make_interval(secs => {MARGIN_SECS}) END,
    (SELECT max(created_at) FROM again HAVING count(*) >= {LOOKED_AT_AGAIN}),
    CASE WHEN (SELECT count(*) FROM groups) = {GROUPS_LOOKED_AT} THEN (
        SELECT ARRAY[graph_id, fairness_group] FROM groups
        ORDER BY graph_id DESC, fairness_group DESC LIMIT 1
    ) END
"""

# The run that a claim would take. Like a claim, this removes the run's group from the
# queue or moves it to the end; `PUT_BACK` adds the group again.
NEXT = """
SELECT spool_next_run_1(NULL, NULL, %(max_per_group)s, %(max_per_graph)s)
"""
PUT_BACK = """
WITH put_back AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT graph_id, fairness_group, clock_timestamp() FROM runs WHERE id = %(run_id)s
    ON CONFLICT DO NOTHING
)
UPDATE runs SET dispatched_at = clock_timestamp()
WHERE id = %(run_id)s AND status = 'pending'
    AND dispatched_at < clock_timestamp() - make_interval(secs => %(timeout)s)
"""
# Other runs that have waited as long. If one is paused, the worker finds nothing to do.
OTHERS = """
SELECT id FROM runs
WHERE status = 'pending' AND id <> %(run_id)s
    AND dispatched_at < clock_timestamp() - make_interval(secs => %(timeout)s)
ORDER BY graph_id, fairness_group, queue_rank, created_at, id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Searched:
    """How far the searches of a process have come."""

    # All runs with a start time before this have been checked.
    until: datetime | None = None
    # Where to continue checking them again (`after`), and the groups of the queue.
    after: datetime | None = None
    graph_id: str = ""
    fairness_group: str = ""


def any_waits() -> bool:
    """Whether there are pending runs whose start time has come."""
    with connection.cursor() as cursor:
        cursor.execute(ANY_WAITS)
        return bool(cursor.fetchone()[0])


def make_ready(searched: Searched) -> tuple[list[UUID], Searched]:
    """Make runs ready whose turn it is. Returns their ids, and where to continue.

    The first search of a process checks all runs.
    """
    with connection.cursor() as cursor:
        cursor.execute(MAKE_READY, asdict(searched))
        ready, until, after, group = cursor.fetchone()
    return ready, Searched(until or searched.until, after, *(group or ("", "")))


@transaction.atomic
def missed(*, timeout: float, limit: int) -> list[UUID]:
    """Find up to `limit` runs to wake workers for.

    There are none unless the next run of the queue was dispatched more than `timeout`
    seconds ago. That run is marked as dispatched now.
    """
    limits = {
        "max_per_group": settings.MAX_RUNNING_PER_OWNER,
        "max_per_graph": settings.MAX_RUNNING_PER_GRAPH,
    }
    with connection.cursor() as cursor:
        cursor.execute(NEXT, limits)
        [run_id] = cursor.fetchone()
        if run_id is None:
            return []
        params = {"run_id": run_id, "timeout": timeout, "limit": limit - 1}
        cursor.execute(PUT_BACK, params)
        if not cursor.rowcount:
            return []
        cursor.execute(OTHERS, params)
        return [run_id, *(other for (other,) in cursor.fetchall())]
