"""Shows operators why pending runs wait: which pauses and limits hold them back."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from spool.runs.models import Pause

# The maximum number of pauses that are listed: those with the most waiting runs.
MAX_PAUSES = 10


@dataclass(frozen=True, slots=True)
class Waiting:
    """Pending runs, and the age of the oldest."""

    count: int
    oldest_secs: float


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause of an owner, a graph or an assistant, and the runs that it holds back.

    A run that several pauses hold back counts for each of them.
    """

    kind: str
    # Assistants are named by their ids.
    name: str
    waiting: Waiting


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that is reached, of an owner or a graph."""

    kind: str
    name: str
    max_running: int


@dataclass(frozen=True, slots=True)
class Free:
    """Pending runs that may start, and the limit that holds back the oldest, if any."""

    waiting: Waiting
    limit: Limit | None


_PENDING = """
    SELECT fairness_group, graph_id, assistant_id::text AS assistant_id, created_at,
        dispatched_at IS NOT NULL AS is_next
    FROM runs WHERE status = 'pending' AND created_at <= now()
"""
# The column of runs that each kind of pause compares its name with.
_HELD_BY = {
    Pause.Kind.OWNER: "fairness_group",
    Pause.Kind.GRAPH: "graph_id",
    Pause.Kind.ASSISTANT: "assistant_id",
}
_HELD = " UNION ALL ".join(
    f"SELECT p.id, r.created_at FROM run_pauses p JOIN pending r ON r.{column} = p.name "
    f"WHERE p.kind = '{kind}'"
    for kind, column in _HELD_BY.items()
)
_PAUSED = f"""
WITH pending AS MATERIALIZED ({_PENDING}), held AS ({_HELD})
SELECT p.kind, p.name, count(h.created_at),
    coalesce(extract(epoch FROM now() - min(h.created_at))::float8, 0)
FROM run_pauses p LEFT JOIN held h ON h.id = p.id
WHERE p.kind <> 'worker'
GROUP BY p.id ORDER BY 3 DESC, p.kind, p.name LIMIT %(limit)s
"""
_NOT_PAUSED = " AND ".join(
    f"NOT EXISTS (SELECT FROM run_pauses p WHERE p.kind = '{kind}' AND p.name = r.{column})"
    for kind, column in _HELD_BY.items()
)
# The oldest run is one whose turn it is: others wait for earlier runs of their threads.
_FREE = f"""
WITH pending AS MATERIALIZED ({_PENDING}), free AS MATERIALIZED (
    SELECT * FROM pending r WHERE {_NOT_PAUSED}
), oldest AS (
    SELECT fairness_group, graph_id, created_at FROM free WHERE is_next
    ORDER BY created_at LIMIT 1
)
SELECT (SELECT count(*) FROM free),
    coalesce(extract(epoch FROM now() - o.created_at)::float8, 0),
    coalesce(o.fairness_group, ''), coalesce(o.graph_id, ''),
    (SELECT count(*) FROM runs WHERE status = 'running'
        AND fairness_group = o.fairness_group),
    (SELECT count(*) FROM runs WHERE status = 'running' AND graph_id = o.graph_id),
    (SELECT max_running FROM run_limits WHERE owner = o.fairness_group)
FROM (SELECT) AS one LEFT JOIN oldest o ON true
"""


def paused() -> list[Paused]:
    """All pauses except those of workers, with the runs that each holds back."""
    with connection.cursor() as cursor:
        cursor.execute(_PAUSED, {"limit": MAX_PAUSES})
        return [
            Paused(kind, name, Waiting(count, oldest_secs))
            for kind, name, count, oldest_secs in cursor.fetchall()
        ]


def not_paused() -> Free:
    """The pending runs that no pause holds back."""
    with connection.cursor() as cursor:
        cursor.execute(_FREE)
        count, oldest_secs, owner, graph_id, of_owner, of_graph, own_limit = (
            cursor.fetchone()
        )
    max_of_owner = settings.MAX_RUNNING_PER_OWNER if own_limit is None else own_limit
    limits = (
        (Limit("owner", owner, max_of_owner), of_owner),
        (Limit("graph", graph_id, settings.MAX_RUNNING_PER_GRAPH), of_graph),
    )
    reached = (one for one, running in limits if 0 < one.max_running <= running)
    return Free(Waiting(count, oldest_secs), next(reached, None))
