from importlib import import_module

from django.db import migrations, models

# The function of `0007_queue_fairly`, which also heeds pauses of assistants and the
# limits of single owners. Its cost does not grow with the number of paused owners:
# `since` of their entries becomes `infinity`. The end of a pause sets it again, and so
# does the tick.
#
# It is replaced under its name, since it takes and returns the same. Workers of the version
# before must heed these pauses and limits, too; under another name they would not, and the
# functions for claims and ends, which call it, would need copies. If a process of the version
# before ends a pause, the next tick of a worker of this version sets `since`.
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
    graphs text[];
    running jsonb;
    closed text[];
    skipped text[] := '{}';
    served record;
    head record;
    entry record;
BEGIN
    IF EXISTS (SELECT FROM run_pauses WHERE kind = 'worker' AND name = worker::text) THEN
        RETURN NULL;
    END IF;
    FOR attempt IN 1..20 LOOP
        WITH RECURSIVE named AS (
            -- By the primary key: the index of `since` has old entries in front.
            (SELECT graph_id FROM run_queue ORDER BY graph_id, fairness_group LIMIT 1)
            UNION ALL
            SELECT (SELECT q.graph_id FROM run_queue q WHERE q.graph_id > named.graph_id
                ORDER BY q.graph_id, q.fairness_group LIMIT 1)
            FROM named WHERE named.graph_id IS NOT NULL
        )
        SELECT array_agg(named.graph_id) INTO graphs FROM named
        WHERE named.graph_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM run_pauses p
                WHERE p.kind = 'graph' AND p.name = named.graph_id)
            AND (max_per_graph = 0 OR max_per_graph > (SELECT count(*) FROM runs r
                WHERE r.status = 'running' AND r.graph_id = named.graph_id));

        SELECT coalesce(jsonb_object_agg(fairness_group, total), '{}') INTO running
        FROM (SELECT fairness_group, count(*) AS total FROM runs
            WHERE status = 'running' GROUP BY fairness_group) AS counted;

        SELECT array_agg(name) INTO closed FROM (
            SELECT key AS name FROM jsonb_each(running) UNION SELECT unnest(skipped)
        ) AS names;

        -- A group that nothing runs of; else the one that the least runs of.
        SELECT idle.graph_id, idle.fairness_group INTO served
        FROM unnest(graphs) AS graph, LATERAL (
            SELECT q.graph_id, q.fairness_group, q.since FROM run_queue q
            WHERE q.graph_id = graph AND q.since < 'infinity'
                AND q.fairness_group <> ALL (coalesce(closed, '{}'))
            ORDER BY q.since LIMIT 1
        ) AS idle
        ORDER BY idle.since LIMIT 1;
        IF FOUND THEN
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
        ELSE
            SELECT q.fairness_group INTO served
            FROM jsonb_each(running) AS r
                JOIN run_queue q ON q.fairness_group = r.key AND q.graph_id = ANY (graphs)
            WHERE q.fairness_group <> ALL (skipped)
                AND coalesce(r.value::integer < nullif(coalesce((
                    SELECT l.max_running FROM run_limits l WHERE l.owner = r.key
                ), max_per_group), 0), true)
                AND NOT EXISTS (SELECT FROM run_pauses p
                    WHERE p.kind = 'owner' AND p.name = q.fairness_group)
            ORDER BY r.value::integer, q.since LIMIT 1;
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
        IF EXISTS (
            SELECT FROM runs ahead WHERE ahead.thread_id = head.thread_id
                AND (ahead.status = 'running' OR ahead.status = 'pending'
                    AND (ahead.created_at, ahead.id) < (head.created_at, head.id))
        ) OR EXISTS (
            SELECT FROM run_pauses p
            WHERE p.kind = 'assistant' AND p.name = head.assistant_id::text
        ) THEN
            -- Its turn has not come: the end of what is ahead gives it, or of the pause.
            UPDATE runs SET dispatched_at = NULL WHERE id = head.id;
            CONTINUE;
        END IF;

        -- It goes behind the others; one that nothing waits in is taken out.
        SELECT q.ctid AS place INTO entry FROM run_queue q
        WHERE q.graph_id = head.graph_id AND q.fairness_group = served.fairness_group
        FOR UPDATE SKIP LOCKED;
        IF FOUND AND (EXISTS (
            SELECT FROM runs r WHERE r.status = 'pending' AND r.dispatched_at IS NOT NULL
                AND r.graph_id = head.graph_id
                AND r.fairness_group = served.fairness_group
                AND (r.queue_rank, r.created_at, r.id)
                    > (head.queue_rank, head.created_at, head.id)
        ) OR EXISTS (
            SELECT FROM runs r WHERE r.status = 'pending' AND r.dispatched_at IS NOT NULL
                AND r.graph_id = head.graph_id
                AND r.fairness_group = served.fairness_group AND r.id <> head.id
        )) THEN
            UPDATE run_queue SET since = clock_timestamp()
            WHERE ctid = entry.place AND EXISTS (
                SELECT FROM run_queue o WHERE o.fairness_group <> served.fairness_group);
        ELSIF entry.place IS NOT NULL THEN
            DELETE FROM run_queue WHERE ctid = entry.place;
        END IF;
        RETURN head.id;
    END LOOP;
    RETURN NULL;
END $$
"""
BEFORE = import_module("spool.runs.migrations.0007_queue_fairly").NEXT_RUN.replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)
# The function of before passes over paused owners itself.
RESTORE = "UPDATE run_queue SET since = clock_timestamp() WHERE since = 'infinity'"


class Migration(migrations.Migration):
    dependencies = [("runs", "0015_say_why_runs_were_stopped")]

    operations = [
        migrations.AlterField(
            "pause",
            "kind",
            models.TextField(
                choices=[
                    ("owner", "Owner"),
                    ("graph", "Graph"),
                    ("assistant", "Assistant"),
                    ("worker", "Worker"),
                ]
            ),
        ),
        migrations.CreateModel(
            "OwnerLimit",
            [
                ("owner", models.TextField(primary_key=True, serialize=False)),
                ("max_running", models.PositiveIntegerField()),
            ],
            options={"db_table": "run_limits"},
        ),
        migrations.RunSQL(migrations.RunSQL.noop, RESTORE),
        migrations.RunSQL(NEXT_RUN, BEFORE),
    ]
