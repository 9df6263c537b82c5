"""Runs in the wire's form, read without creating `Run` objects: clients poll them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from spool.access.scope import OWNED, Scope
from spool.database import prepared
from spool.database.json import from_jsonb
from spool.runs.models import Run
from spool.runs.serializers import run_json, shown

COLUMNS = (
    *("id", "thread_id", "assistant_id", "metadata", "status", "multitask_strategy"),
    *("created_at", "updated_at", "cancel_reason"),
)
# For a plain scope. Other scopes use `RunQuerySet.visible_to`.
READ = f"""
SELECT kwargs::text, given::text, {", ".join(COLUMNS)} FROM runs
WHERE id = %(id)s AND (%(thread_id)s::uuid IS NULL OR thread_id = %(thread_id)s::uuid)
    AND EXISTS (
        SELECT FROM threads
        WHERE threads.id = runs.thread_id AND discarded_at IS NULL AND {OWNED}
    )
"""


def find(scope: Scope, run_id: UUID, thread_id: UUID | None) -> dict[str, Any] | None:
    """The body of one run. None if the caller can't see it, or if it does not exist."""
    if not scope.is_plain:
        runs = Run.objects.visible_to(scope).filter(pk=run_id)
        run = (runs.filter(thread=thread_id) if thread_id else runs).first()
        return run_json(run) if run else None
    params = {"id": run_id, "thread_id": thread_id, **scope.params}
    row = prepared.fetch_one(READ, params, for_wire=True)
    if row is None:
        return None
    kwargs, given, *found = row
    columns = dict(zip(COLUMNS, found, strict=True))
    # As in `Run.from_db`.
    columns["kwargs"] = {**from_jsonb(kwargs), **(from_jsonb(given) if given else {})}
    return shown(columns.__getitem__)
