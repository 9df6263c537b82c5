from django.db import migrations

# The statements of a run's way through a worker. Each is a function, so that it takes
# one round trip, and so that its parts see what was committed while the first of them
# waited for a lock. A function is never changed: another version gets another name, so
# that workers of two versions may run side by side.

# Stores checkpoints and writes of a run's graph; see `threads.saves.Saves`. The blobs
# are one after another in `blobs`.
WRITE_SAVES = """
CREATE FUNCTION spool_write_saves_1(saves jsonb, blobs bytea) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF saves ? 'blobs' THEN
        INSERT INTO checkpoint_blobs
            (thread_id, checkpoint_ns, channel, version, type, blob)
        SELECT b.thread_id, b.ns, b.channel, b.version, b.type,
            substring(blobs FROM b.start FOR b.size)
        FROM jsonb_to_recordset(saves -> 'blobs') AS b (
            thread_id text, ns text, channel text, version text, type text, start int,
            size int)
        ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING;
    END IF;
    IF saves ? 'checkpoints' THEN
        INSERT INTO checkpoints (
            thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint,
            metadata)
        SELECT c.thread_id, c.ns, c.id, c.parent_id, c.checkpoint, c.metadata
        FROM jsonb_to_recordset(saves -> 'checkpoints') AS c (
            thread_id text, ns text, id text, parent_id text, checkpoint jsonb,
            metadata jsonb)
        ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
        SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata;
    END IF;
    IF saves ? 'writes' THEN
        INSERT INTO checkpoint_writes (
            thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel,
            type, blob)
        SELECT w.thread_id, w.ns, w.id, w.task_id, w.task_path, w.idx, w.channel,
            w.type, substring(blobs FROM w.start FOR w.size)
        FROM jsonb_to_recordset(saves -> 'writes') AS w (
            thread_id text, ns text, id text, task_id text, task_path text, idx int,
            channel text, type text, start int, size int)
        ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING;
    END IF;
    -- Special channels (errors, interrupts, resumes) are overwritten; results are not.
    IF saves ? 'special_writes' THEN
        INSERT INTO checkpoint_writes (
            thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel,
            type, blob)
        SELECT w.thread_id, w.ns, w.id, w.task_id, w.task_path, w.idx, w.channel,
            w.type, substring(blobs FROM w.start FOR w.size)
        FROM jsonb_to_recordset(saves -> 'special_writes') AS w (
            thread_id text, ns text, id text, task_id text, task_path text, idx int,
            channel text, type text, start int, size int)
        ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE
        SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob;
    END IF;
END $$
"""

# The same while the run goes on. False, and nothing stored, if the attempt does not
# hold the run any more. The lock makes a deletion of the run wait, and so find all
# saved rows, and another attempt begin only after it.
SAVE = """
CREATE FUNCTION spool_save_1(
    held_run uuid, held_attempt integer, saves jsonb, blobs bytea
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM runs
    WHERE id = held_run AND attempt = held_attempt AND status = 'running' FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM spool_write_saves_1(saves, blobs);
    RETURN true;
END $$
"""

CLAIMED_COLUMNS = """
    id uuid, thread_id uuid, assistant_id uuid, graph_id text, metadata jsonb,
    kwargs jsonb, given json, is_temporary boolean, owner text, "user" jsonb,
    attempt integer, cancel_action text, api_key_id uuid, revision text,
    created_at timestamptz, claimed_at timestamptz, dispatched_at timestamptz,
    trace_context jsonb, thread_created_at timestamptz, event_seq bigint, has_checkpoints boolean
"""

# Claims a run for a worker: the given one, or the next in the queue; see
# `spool_next_run_1`. No row if there is none.
CLAIM = """
CREATE FUNCTION spool_claim_1(
    wanted uuid, claimant uuid, hint uuid, max_per_group integer, max_per_graph integer,
    revisions jsonb
) RETURNS TABLE (CLAIMED_COLUMNS) LANGUAGE plpgsql
-- Whatever the statistics say of tables that were empty when they were made.
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    chosen uuid := wanted;
BEGIN
    IF claimant IS NULL THEN
        RETURN;
    END IF;
    IF chosen IS NULL THEN
        chosen := spool_next_run_1(claimant, hint, max_per_group, max_per_graph);
    END IF;
    IF chosen IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE runs SET status = 'running', attempt = runs.attempt + 1,
        worker_id = claimant, started_at = coalesce(started_at, clock_timestamp()),
        claimed_at = clock_timestamp(), updated_at = clock_timestamp(),
        revision = revisions ->> runs.graph_id
    FROM threads
    WHERE runs.id = chosen AND runs.status = 'pending'
        AND threads.id = runs.thread_id
        AND runs.created_at <= clock_timestamp()
        AND EXISTS (SELECT FROM workers WHERE id = claimant AND expired_at IS NULL)
        AND NOT EXISTS (
            SELECT FROM runs ahead
            WHERE ahead.thread_id = runs.thread_id
                AND (ahead.status = 'running' OR ahead.status = 'pending'
                    AND (ahead.created_at, ahead.id) < (runs.created_at, runs.id)))
    RETURNING runs.id, runs.thread_id, runs.assistant_id, runs.graph_id, runs.metadata,
        runs.kwargs, runs.given, runs.is_temporary, runs.owner, runs."user",
        runs.attempt, runs.cancel_action, runs.api_key_id, runs.revision,
        runs.created_at, runs.claimed_at, runs.dispatched_at, runs.trace_context,
        threads.created_at, threads.event_seq,
        EXISTS (SELECT FROM checkpoints WHERE thread_id = runs.thread_id::text);
END $$
"""

# Ends a run: stores its last saves, its thread's state, its record and its webhooks,
# makes the thread's next run ready, and claims the next run for `claimant`, if that is
# not NULL. No row, and nothing stored, if the run is not in this attempt and status any
# more, or (`heeds_rollback`) is to be rolled back.
#
# `ending` is `lifecycle.Outcome.as_json`; without a status the run is rolled back: its row
# is deleted. `written` is `record.Record.as_json`.
END = """
CREATE FUNCTION spool_end_1(
    ended_run uuid, of_thread uuid, held_attempt integer, from_status text,
    heeds_rollback boolean, ending jsonb, written jsonb, saves jsonb, blobs bytea,
    claimant uuid, max_per_group integer, max_per_graph integer, revisions jsonb
) RETURNS TABLE (
    ended_thread_id uuid, next_run_id uuid, delivery_id uuid, ended_event_seq bigint,
    CLAIMED_COLUMNS
) LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    now_ended record;
    waiting record;
    thread record;
    is_busy boolean;
    settles boolean := (ending ->> 'settles')::boolean;
    has_state boolean := ending ? 'values';
    turn uuid;
    delivery uuid;
    push uuid;
BEGIN
    -- A thread's status depends on all of its runs, so its row is the lock for them.
    PERFORM FROM threads WHERE id = of_thread FOR UPDATE;

    IF ending ->> 'status' IS NULL THEN
        DELETE FROM runs
        WHERE id = ended_run AND attempt = held_attempt AND status = from_status
        RETURNING * INTO now_ended;
    ELSE
        UPDATE runs SET status = ending ->> 'status',
            error = nullif(ending -> 'error', 'null'),
            ended_at = clock_timestamp(), updated_at = clock_timestamp()
        WHERE id = ended_run AND attempt = held_attempt AND status = from_status
            AND NOT (heeds_rollback AND coalesce(cancel_action, '') = 'rollback')
        RETURNING * INTO now_ended;
    END IF;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    IF saves IS NOT NULL THEN
        PERFORM spool_write_saves_1(saves, blobs);
    END IF;

    SELECT r.id, r.created_at, r.graph_id, r.fairness_group INTO waiting FROM runs r
    WHERE r.thread_id = of_thread AND r.status = 'pending' AND r.id <> ended_run
    ORDER BY r.created_at, r.id LIMIT 1;
    is_busy := FOUND OR EXISTS (SELECT FROM runs r
        WHERE r.thread_id = of_thread AND r.status = 'running' AND r.id <> ended_run);
    IF waiting.created_at <= clock_timestamp() THEN
        turn := waiting.id;
        UPDATE runs SET dispatched_at = clock_timestamp() WHERE runs.id = turn;
        INSERT INTO run_queue (graph_id, fairness_group, since)
        VALUES (waiting.graph_id, waiting.fairness_group, clock_timestamp())
        ON CONFLICT DO NOTHING;
    END IF;

    UPDATE threads SET
        status = CASE WHEN is_busy THEN 'busy'
            WHEN settles THEN ending ->> 'resting_status' ELSE resting_status END,
        resting_status =
            CASE WHEN settles THEN ending ->> 'resting_status' ELSE resting_status END,
        error = CASE WHEN settles THEN nullif(ending -> 'error', 'null')
            ELSE threads.error END,
        values = CASE WHEN has_state THEN ending -> 'values' ELSE values END,
        interrupts =
            CASE WHEN has_state THEN ending -> 'interrupts' ELSE interrupts END,
        interrupt_order = CASE WHEN has_state THEN ending -> 'interrupt_order'
            ELSE interrupt_order END,
        state_updated_at =
            CASE WHEN has_state THEN clock_timestamp() ELSE state_updated_at END,
        updated_at = clock_timestamp(),
        -- A run may take longer than its thread has to live.
        expires_at = clock_timestamp() + make_interval(secs => 60 * ttl_minutes),
        discarded_at = CASE WHEN now_ended.is_temporary THEN clock_timestamp() END,
        event_seq = greatest(threads.event_seq, (ending ->> 'event_seq')::bigint,
            CASE WHEN ending ->> 'event_seq' IS NULL THEN threads.event_seq
                + now_ended.attempt * (ending ->> 'seqs_of_attempt')::bigint + 1 END)
    WHERE threads.id = of_thread
    RETURNING threads.event_seq, threads.values INTO thread;

    IF ending ->> 'status' IS NOT NULL THEN
        IF now_ended.kwargs ->> 'webhook' IS NOT NULL THEN
            INSERT INTO webhook_deliveries
                (id, run_id, thread_id, url, payload, attempts, last_error,
                trace_context)
            VALUES (gen_random_uuid(), ended_run, of_thread,
                now_ended.kwargs ->> 'webhook',
                jsonb_strip_nulls(jsonb_build_object('error', now_ended.error))
                || jsonb_build_object(
                    'run_id', now_ended.id, 'thread_id', now_ended.thread_id,
                    'assistant_id', now_ended.assistant_id,
                    'metadata', now_ended.metadata, 'status', now_ended.status,
                    'kwargs',
                    now_ended.kwargs || coalesce(now_ended.given::jsonb, '{}'),
                    'multitask_strategy', now_ended.multitask_strategy,
                    'created_at', now_ended.created_at,
                    'updated_at', now_ended.updated_at,
                    'run_started_at', now_ended.started_at,
                    'run_ended_at', now_ended.ended_at,
                    'values',
                    CASE WHEN now_ended.is_temporary THEN NULL ELSE thread.values END),
                0, '', now_ended.trace_context)
            RETURNING webhook_deliveries.id INTO delivery;
        END IF;
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
    END IF;

    -- Attempt 0 is the end of a run that no worker was executing.
    IF from_status IN ('pending', 'running') THEN
        INSERT INTO run_attempts (
            run_id, attempt, thread_id, owner, assistant_id, graph_id, run_class,
            revision, worker_id, queued_at, started_at, ended_at, outcome, error,
            node, traceback, steps, tokens)
        VALUES (ended_run, CASE from_status WHEN 'running' THEN held_attempt ELSE 0 END,
            of_thread,
            coalesce(now_ended."user" ->> 'identity', now_ended.owner),
            now_ended.assistant_id, now_ended.graph_id,
            coalesce(now_ended.run_class, ''), coalesce(now_ended.revision, ''),
            now_ended.worker_id, now_ended.created_at,
            coalesce(now_ended.claimed_at, now_ended.started_at, now_ended.created_at),
            clock_timestamp(), coalesce(ending ->> 'status', 'rolled_back'),
            now_ended.error, written ->> 'node', written ->> 'traceback',
            (written ->> 'step_count')::int, written -> 'tokens')
        ON CONFLICT (run_id, attempt) DO NOTHING;
    END IF;
    IF written ? 'steps' THEN
        INSERT INTO run_steps AS step (
            run_id, attempt, slot, number, node, namespace, task_id, started_at,
            duration_ms, outcome, tokens, tools, error, traceback)
        SELECT ended_run, held_attempt, s.slot, s.number, s.node, s.namespace, s.task_id,
            s.started_at, s.duration_ms, s.outcome, s.tokens, s.tools, s.error,
            s.traceback
        FROM jsonb_to_recordset(written -> 'steps') AS s (
            slot int, number int, node text, namespace text, task_id text,
            started_at timestamptz, duration_ms float8, outcome text, tokens jsonb,
            tools jsonb, error jsonb, traceback text)
        ON CONFLICT (run_id, attempt, slot) DO UPDATE SET
            number = excluded.number, node = excluded.node,
            namespace = excluded.namespace, task_id = excluded.task_id,
            started_at = excluded.started_at, duration_ms = excluded.duration_ms,
            outcome = excluded.outcome, tokens = excluded.tokens,
            tools = excluded.tools, error = excluded.error,
            traceback = excluded.traceback
        WHERE step.number < excluded.number;
    END IF;
    IF written ? 'usage' THEN
        INSERT INTO usage_totals AS total (
            id, owner, api_key_id, assistant_id, graph_id, revision, node, provider,
            model, day, calls, input, output, cached, cache_written, reasoning)
        SELECT u.id, u.owner, u.api_key_id, u.assistant_id, u.graph_id, u.revision,
            u.node, u.provider, u.model, u.day, u.calls, u.input, u.output, u.cached,
            u.cache_written, u.reasoning
        FROM jsonb_to_recordset(written -> 'usage') AS u (
            id uuid, owner text, api_key_id uuid, assistant_id uuid, graph_id text,
            revision text, node text, provider text, model text, day date, calls bigint,
            input bigint, output bigint, cached bigint, cache_written bigint,
            reasoning bigint)
        ON CONFLICT (id) DO UPDATE SET
            calls = greatest(total.calls, excluded.calls),
            input = greatest(total.input, excluded.input),
            output = greatest(total.output, excluded.output),
            cached = greatest(total.cached, excluded.cached),
            cache_written = greatest(total.cache_written, excluded.cache_written),
            reasoning = greatest(total.reasoning, excluded.reasoning);
    END IF;

    RETURN QUERY SELECT of_thread, turn, coalesce(delivery, push), thread.event_seq,
        claimed.*
    FROM (VALUES (1)) AS always LEFT JOIN spool_claim_1(
        NULL, claimant, NULL, max_per_group, max_per_graph, revisions
    ) AS claimed ON true;
END $$
"""

FUNCTIONS = (
    (WRITE_SAVES, "spool_write_saves_1"),
    (SAVE, "spool_save_1"),
    (CLAIM, "spool_claim_1"),
    (END, "spool_end_1"),
)


class Migration(migrations.Migration):
    dependencies = [("runs", "0013_keep_trace_context")]

    operations = [
        migrations.RunSQL(
            statement.replace("CLAIMED_COLUMNS", CLAIMED_COLUMNS),
            f"DROP FUNCTION {name}",
        )
        for statement, name in FUNCTIONS
    ]
