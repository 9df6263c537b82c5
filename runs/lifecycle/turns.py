"""Whose turn it is: parts of the statements that move runs."""

from __future__ import annotations

# A condition on `runs`: no other run is ahead of it on its thread.
FIRST = """NOT EXISTS (
    SELECT FROM runs ahead
    WHERE ahead.thread_id = runs.thread_id
        AND (ahead.status = 'running' OR ahead.status = 'pending'
            AND (ahead.created_at, ahead.id) < (runs.created_at, runs.id))
)"""

# The next run that any worker may take, longest waiting first.
NEXT = f"""
SELECT id FROM runs
WHERE status = 'pending' AND dispatched_at IS NOT NULL
    AND created_at <= clock_timestamp()
    AND {FIRST}
ORDER BY dispatched_at LIMIT 1
"""

# Adds the moved runs (`{moved}`) to the queue that claims read.
QUEUE = """queued AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT DISTINCT graph_id, fairness_group, clock_timestamp() FROM {moved}
    ORDER BY graph_id, fairness_group
    ON CONFLICT DO NOTHING
)"""
