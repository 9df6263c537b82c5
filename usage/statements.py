"""SQL that writes and merges usage. Other modules include it in their statements."""

from __future__ import annotations

# Writes the list of `Reading.as_json` in `%(usage)s`, as a part of a `WITH`. GREATEST
# is needed since two writes of a counter may arrive out of order.
WRITE = """
    INSERT INTO usage_totals AS total (
        id, owner, api_key_id, assistant_id, graph_id, revision, node, provider, model,
        day, calls, input, output, cached, cache_written, reasoning
    )
    SELECT id, owner, api_key_id, assistant_id, graph_id, revision, node, provider,
        model, day, calls, input, output, cached, cache_written, reasoning
    FROM jsonb_to_recordset(%(usage)s) AS reading (
        id uuid, owner text, api_key_id uuid, assistant_id uuid, graph_id text,
        revision text, node text, provider text, model text, day date, calls bigint,
        input bigint, output bigint, cached bigint, cache_written bigint,
        reasoning bigint
    )
    ON CONFLICT (id) DO UPDATE SET
        calls = greatest(total.calls, excluded.calls),
        input = greatest(total.input, excluded.input),
        output = greatest(total.output, excluded.output),
        cached = greatest(total.cached, excluded.cached),
        cache_written = greatest(total.cache_written, excluded.cache_written),
        reasoning = greatest(total.reasoning, excluded.reasoning)
"""

# Adds runs that ended, as a part of a statement with the CTE `ended` (owner,
# assistant_id, graph_id, revision, day, outcome, duration). Not to be repeated.
ADD_RUNS = """
    INSERT INTO usage_runs AS total (
        owner, assistant_id, graph_id, revision, day, successful, failed, timed_out,
        interrupted, rolled_back, seconds
    )
    SELECT owner, assistant_id, graph_id, revision, day,
        count(*) FILTER (WHERE outcome = 'success'),
        count(*) FILTER (WHERE outcome = 'error'),
        count(*) FILTER (WHERE outcome = 'timeout'),
        count(*) FILTER (WHERE outcome = 'interrupted'),
        count(*) FILTER (WHERE outcome = 'rolled_back'),
        coalesce(sum(duration), 0)
    FROM ended
    GROUP BY owner, assistant_id, graph_id, revision, day
    ON CONFLICT (owner, assistant_id, graph_id, revision, day) DO UPDATE SET
        successful = total.successful + excluded.successful,
        failed = total.failed + excluded.failed,
        timed_out = total.timed_out + excluded.timed_out,
        interrupted = total.interrupted + excluded.interrupted,
        rolled_back = total.rolled_back + excluded.rolled_back,
        seconds = total.seconds + excluded.seconds
"""

# Merges counters of past days that differ only in their process. Counters of the last
# two days are left out, since they may still be written.
MERGE = """
WITH same AS (
    SELECT array_agg(id) AS ids FROM usage_totals
    WHERE day < (now() AT TIME ZONE 'UTC')::date - 2
        AND day > (now() AT TIME ZONE 'UTC')::date - %(days)s::int
    GROUP BY owner, api_key_id, assistant_id, graph_id, revision, node, provider, model,
        day
    HAVING count(*) > 1
    LIMIT %(limit)s
), merged AS (
    DELETE FROM usage_totals WHERE id IN (SELECT unnest(ids) FROM same)
    RETURNING *
), written AS (
    INSERT INTO usage_totals (
        id, owner, api_key_id, assistant_id, graph_id, revision, node, provider, model,
        day, calls, input, output, cached, cache_written, reasoning
    )
    SELECT gen_random_uuid(), owner, api_key_id, assistant_id, graph_id, revision, node,
        provider, model, day, sum(calls), sum(input), sum(output), sum(cached),
        sum(cache_written), sum(reasoning)
    FROM merged
    GROUP BY owner, api_key_id, assistant_id, graph_id, revision, node, provider, model,
        day
)
SELECT count(*) FROM merged
"""
