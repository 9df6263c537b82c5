from importlib import import_module

from django.db import migrations

# Claims and ends with fewer statements, each of which takes as long as reading twenty
# pages. The functions are replaced under their names: they take, return and do the same,
# and workers of the version before gain as well.

# The function of `0016_pause_assistants_and_limit_owners`. A queue with one entry, or of
# one graph, needs no look for others, and pauses are looked up only if there are any.
NEXT_RUN = """
CREATE OR REPLACE FUNCTION spool_next_run_1(
    worker uuid, hint uuid, max_per_group integer, max_per_graph integer
) RETURNS uuid LANGUAGE plpgsql
-- One row by an index each time, whatever the statistics say of a queue that was empty,
-- or held a crowd, when they were made.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    ends record;
    is_only_entry boolean;
    graphs text[];
    closed text[];
    skipped text[] := '{}';
    max_running integer;
    served record;
    head record;
    must_wait boolean;
    has_more boolean;
    entry record;
BEGIN
    FOR attempt IN 1..20 LOOP
        -- By the primary key: the index of `since` has old entries in front.
        SELECT a.graph_id, a.fairness_group, a.since, z.graph_id AS last_graph_id,
            z.fairness_group AS last_fairness_group,
            EXISTS (SELECT FROM run_pauses) AS has_pauses
        INTO ends FROM (
            SELECT q.graph_id, q.fairness_group, q.since FROM run_queue q
            ORDER BY q.graph_id, q.fairness_group LIMIT 1
        ) AS a, (
            SELECT q.graph_id, q.fairness_group FROM run_queue q
            ORDER BY q.graph_id DESC, q.fairness_group DESC LIMIT 1
        ) AS z;
        IF NOT FOUND AND hint IS NULL THEN
            RETURN NULL;
        END IF;
        IF ends.has_pauses IS DISTINCT FROM false THEN
            IF EXISTS (
                SELECT FROM run_pauses p
                WHERE p.kind = 'worker' AND p.name = worker::text
            ) THEN
                RETURN NULL;
            END IF;
        END IF;

        graphs := ARRAY[ends.graph_id];
        IF ends.graph_id <> ends.last_graph_id THEN
            WITH RECURSIVE named AS (
                SELECT ends.graph_id AS graph_id
                UNION ALL
                SELECT (SELECT q.graph_id FROM run_queue q
                    WHERE q.graph_id > named.graph_id
                    ORDER BY q.graph_id, q.fairness_group LIMIT 1)
                FROM named WHERE named.graph_id IS NOT NULL
            )
            SELECT array_agg(named.graph_id) INTO graphs FROM named
            WHERE named.graph_id IS NOT NULL;
        END IF;
        IF ends.has_pauses OR max_per_graph > 0 THEN
            graphs := ARRAY(
                SELECT graph FROM unnest(graphs) AS graph
                WHERE NOT EXISTS (SELECT FROM run_pauses p
                        WHERE p.kind = 'graph' AND p.name = graph)
                    AND (max_per_graph = 0 OR max_per_graph > (
                        SELECT count(*) FROM runs r
                        WHERE r.status = 'running' AND r.graph_id = graph)));
        END IF;

        -- Or there is none, and only a hint.
        is_only_entry := coalesce(ends.graph_id = ends.last_graph_id
            AND ends.fairness_group = ends.last_fairness_group, true);
        IF is_only_entry THEN
            SELECT only_graph AS graph_id, ends.fairness_group INTO served
            FROM unnest(graphs) AS only_graph
            WHERE ends.since < 'infinity' AND ends.fairness_group <> ALL (skipped);
        ELSE
            -- A group that nothing runs of; else the one that the least runs of.
            closed := skipped || ARRAY(
                SELECT DISTINCT r.fairness_group FROM runs r WHERE r.status = 'running');
            SELECT idle.graph_id, idle.fairness_group INTO served
            FROM unnest(graphs) AS graph, LATERAL (
                SELECT q.graph_id, q.fairness_group, q.since FROM run_queue q
                WHERE q.graph_id = graph AND q.since < 'infinity'
                    AND q.fairness_group <> ALL (closed)
                ORDER BY q.since LIMIT 1
            ) AS idle
            ORDER BY idle.since LIMIT 1;
        END IF;
        IF FOUND THEN
            -- Nothing runs of it, unless it is the only one.
            IF is_only_entry THEN
                max_running := coalesce((SELECT l.max_running FROM run_limits l
                    WHERE l.owner = served.fairness_group), max_per_group);
                IF max_running > 0 AND max_running <= (SELECT count(*) FROM runs r
                    WHERE r.status = 'running'
                        AND r.fairness_group = served.fairness_group)
                THEN
                    skipped := skipped || served.fairness_group;
                    CONTINUE;
                END IF;
            END IF;
            IF ends.has_pauses THEN
                IF EXISTS (SELECT FROM run_pauses p
                    WHERE p.kind = 'owner' AND p.name = served.fairness_group)
                THEN
                    -- Paused groups go to the end, where no claim reads them again.
                    UPDATE run_queue SET since = 'infinity' WHERE ctid = ANY (ARRAY(
                        SELECT q.ctid FROM run_queue q WHERE q.ctid = ANY (ARRAY(
                            SELECT f.ctid FROM run_queue f
                            WHERE f.graph_id = served.graph_id AND f.since < 'infinity'
                            ORDER BY f.since LIMIT 500
                        )) AND EXISTS (SELECT FROM run_pauses p
                            WHERE p.kind = 'owner' AND p.name = q.fairness_group)
                        FOR UPDATE SKIP LOCKED));
                    skipped := skipped || served.fairness_group;
                    CONTINUE;
                END IF;
            END IF;
        ELSIF NOT is_only_entry THEN
            SELECT q.fairness_group INTO served
            FROM (
                SELECT r.fairness_group, count(*) AS total FROM runs r
                WHERE r.status = 'running' GROUP BY r.fairness_group
            ) AS running
                JOIN run_queue q ON q.fairness_group = running.fairness_group
                    AND q.graph_id = ANY (graphs)
            WHERE q.fairness_group <> ALL (skipped)
                AND coalesce(running.total < nullif(coalesce((
                    SELECT l.max_running FROM run_limits l
                    WHERE l.owner = q.fairness_group
                ), max_per_group), 0), true)
                AND NOT EXISTS (SELECT FROM run_pauses p
                    WHERE p.kind = 'owner' AND p.name = q.fairness_group)
            ORDER BY running.total, q.since LIMIT 1;
        END IF;
        IF NOT FOUND THEN
            IF hint IS NULL THEN
                RETURN NULL;
            END IF;
            -- Of a run that an older version has queued, only its message tells.
            INSERT INTO run_queue (graph_id, fairness_group, since)
            SELECT graph_id, fairness_group, clock_timestamp() FROM runs
            WHERE id = hint AND status = 'pending' AND dispatched_at IS NOT NULL
            ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                RETURN NULL;
            END IF;
            hint := NULL;
            CONTINUE;
        END IF;

        SELECT first.* INTO head FROM unnest(graphs) AS graph, LATERAL (
            SELECT r.graph_id, r.queue_rank, r.created_at, r.id FROM runs r
            WHERE r.status = 'pending' AND r.dispatched_at IS NOT NULL
                AND r.graph_id = graph AND r.fairness_group = served.fairness_group
            ORDER BY r.queue_rank, r.created_at, r.id LIMIT 1
        ) AS first
        ORDER BY first.queue_rank, first.created_at, first.id LIMIT 1;
        IF NOT FOUND THEN
            DELETE FROM run_queue WHERE ctid = ANY (ARRAY(
                SELECT q.ctid FROM run_queue q
                WHERE q.fairness_group = served.fairness_group
                    AND q.graph_id = ANY (graphs) AND NOT EXISTS (
                        SELECT FROM runs r WHERE r.status = 'pending'
                            AND r.dispatched_at IS NOT NULL AND r.graph_id = q.graph_id
                            AND r.fairness_group = q.fairness_group)
                FOR UPDATE SKIP LOCKED));
            skipped := skipped || served.fairness_group;
            CONTINUE;
        END IF;

        -- From there on: in front of it are index entries of runs that were claimed since
        -- the last vacuum, in a long queue many.
        SELECT r.id, r.thread_id, r.assistant_id, r.graph_id, r.queue_rank, r.created_at
        INTO head FROM runs r
        WHERE r.status = 'pending' AND r.dispatched_at IS NOT NULL
            AND r.graph_id = head.graph_id AND r.fairness_group = served.fairness_group
            AND (r.queue_rank, r.created_at, r.id)
                >= (head.queue_rank, head.created_at, head.id)
        ORDER BY r.queue_rank, r.created_at, r.id LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            -- Others are claiming the last of them.
            skipped := skipped || served.fairness_group;
            CONTINUE;
        END IF;
        must_wait := EXISTS (
            SELECT FROM runs ahead WHERE ahead.thread_id = head.thread_id
                AND (ahead.status = 'running' OR ahead.status = 'pending'
                    AND (ahead.created_at, ahead.id) < (head.created_at, head.id)));
        IF ends.has_pauses AND NOT must_wait THEN
            must_wait := EXISTS (
                SELECT FROM run_pauses p
                WHERE p.kind = 'assistant' AND p.name = head.assistant_id::text);
        END IF;
        IF must_wait THEN
            -- Its turn has not come: the end of what is ahead gives it, or of the pause.
            UPDATE runs SET dispatched_at = NULL WHERE id = head.id;
            CONTINUE;
        END IF;

        has_more := EXISTS (
            SELECT FROM runs r WHERE r.status = 'pending' AND r.dispatched_at IS NOT NULL
                AND r.graph_id = head.graph_id
                AND r.fairness_group = served.fairness_group
                AND (r.queue_rank, r.created_at, r.id)
                    > (head.queue_rank, head.created_at, head.id));
        IF is_only_entry AND has_more THEN
            RETURN head.id;
        END IF;
        -- It goes behind the others; one that nothing waits in is taken out.
        SELECT q.ctid AS place INTO entry FROM run_queue q
        WHERE q.graph_id = head.graph_id AND q.fairness_group = served.fairness_group
        FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN head.id;
        END IF;
        IF has_more OR EXISTS (
            SELECT FROM runs r WHERE r.status = 'pending' AND r.dispatched_at IS NOT NULL
                AND r.graph_id = head.graph_id
                AND r.fairness_group = served.fairness_group AND r.id <> head.id
        ) THEN
            UPDATE run_queue SET since = clock_timestamp()
            WHERE ctid = entry.place AND EXISTS (
                SELECT FROM run_queue o WHERE o.fairness_group <> served.fairness_group);
        ELSE
            DELETE FROM run_queue WHERE ctid = entry.place;
        END IF;
        RETURN head.id;
    END LOOP;
    RETURN NULL;
END $$
"""

# The functions of `0014_end_and_claim_at_once`. What is ahead of the next run in the queue
# was looked up when it was chosen.
LOOKS_AHEAD = """\
        AND NOT EXISTS (
            SELECT FROM runs ahead
            WHERE ahead.thread_id = runs.thread_id
                AND (ahead.status = 'running' OR ahead.status = 'pending'
                    AND (ahead.created_at, ahead.id) < (runs.created_at, runs.id)))
"""
LOOKS_AHEAD_OF_WANTED = """\
        AND (wanted IS NULL OR NOT EXISTS (
            SELECT FROM runs ahead
            WHERE ahead.thread_id = runs.thread_id
                AND (ahead.status = 'running' OR ahead.status = 'pending'
                    AND (ahead.created_at, ahead.id) < (runs.created_at, runs.id))))
"""
# Only one run of a thread is ever running, and few have push notifications.
WAS_BUSY = """\
    is_busy := FOUND OR EXISTS (SELECT FROM runs r
        WHERE r.thread_id = of_thread AND r.status = 'running' AND r.id <> ended_run);
"""
IS_BUSY = """\
    is_busy := FOUND;
    IF NOT is_busy AND from_status <> 'running' THEN
        is_busy := EXISTS (SELECT FROM runs r
            WHERE r.thread_id = of_thread AND r.status = 'running' AND r.id <> ended_run);
    END IF;
"""
PUSHES = """\
        WITH pushes AS (
            INSERT INTO webhook_deliveries (
                id, run_id, thread_id, url, payload, attempts, last_error,
                push_config_id, trace_context)
            SELECT gen_random_uuid(), ended_run, of_thread, push_configs.url, '{}', 0,
                '', push_configs.id, now_ended.trace_context
            FROM push_configs
            WHERE push_configs.first_run_id
                = coalesce(now_ended.first_run_id, ended_run)
            RETURNING webhook_deliveries.id
        )
        SELECT pushes.id INTO push FROM pushes LIMIT 1;
"""
PUSHES_IF_ANY = f"""\
        IF EXISTS (
            SELECT FROM push_configs WHERE push_configs.first_run_id
                = coalesce(now_ended.first_run_id, ended_run)
        ) THEN
{PUSHES}\
        END IF;
"""


def changed(statement: str, *changes: tuple[str, str]) -> str:
    for before, after in changes:
        if statement.count(before) != 1:
            raise ValueError(f"not once in the statement: {before}")
        statement = statement.replace(before, after)
    return statement


_first = import_module("spool.runs.migrations.0014_end_and_claim_at_once")
CLAIM_BEFORE, END_BEFORE = (
    changed(
        statement.replace("CLAIMED_COLUMNS", _first.CLAIMED_COLUMNS),
        ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    )
    for statement in (_first.CLAIM, _first.END)
)
CLAIM = changed(CLAIM_BEFORE, (LOOKS_AHEAD, LOOKS_AHEAD_OF_WANTED))
END = changed(END_BEFORE, (WAS_BUSY, IS_BUSY), (PUSHES, PUSHES_IF_ANY))
NEXT_RUN_BEFORE = import_module(
    "spool.runs.migrations.0016_pause_assistants_and_limit_owners"
).NEXT_RUN


class Migration(migrations.Migration):
    dependencies = [("runs", "0021_index_ended_runs")]

    operations = [
        migrations.RunSQL(NEXT_RUN, NEXT_RUN_BEFORE),
        migrations.RunSQL(CLAIM, CLAIM_BEFORE),
        migrations.RunSQL(END, END_BEFORE),
    ]
