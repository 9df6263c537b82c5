"""The order of a thread's runs: parts of the statements that move runs."""

from __future__ import annotations

# A condition on `runs`: no other run is ahead of it on its thread.
FIRST = """NOT EXISTS (
    SELECT FROM runs ahead
    WHERE ahead.thread_id = runs.thread_id
        AND (ahead.status = 'running' OR ahead.status = 'pending'
            AND (ahead.created_at, ahead.id) < (runs.created_at, runs.id))
)"""

# Adds the groups of the moved runs (`{moved}`) to the queue that claims read. Entries
# of owners that were paused are put at its end.
QUEUE = """queued AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT graph_id, fairness_group, clock_timestamp() FROM {moved}
    GROUP BY graph_id, fairness_group ORDER BY graph_id, fairness_group
    ON CONFLICT (graph_id, fairness_group) DO UPDATE SET since = excluded.since
    WHERE run_queue.since = 'infinity'
)"""
