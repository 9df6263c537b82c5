"""The fences of an attempt: without them, what it writes changes nothing."""

from __future__ import annotations

from typing import Any

from spool.runs.lifecycle import Claim
from spool.store.statements import Permit
from spool.threads.checkpoints import Fence

# KEY SHARE holds off a DELETE of the run.
HOLDER = """
SELECT id FROM runs
WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
FOR KEY SHARE
"""
OVERTAKEN = "SELECT FROM runs WHERE id = %(run_id)s AND attempt > %(attempt)s"


def fence_of(held: Claim) -> Fence:
    """For checkpoints: as long as the attempt holds its run."""
    return Fence(held.id, HOLDER, _params(held))


def store_permit_of(held: Claim) -> Permit:
    """For items of the store: until the next attempt has begun.

    That is also after the run: a graph may leave something to be done later.
    """
    return Permit(f"NOT EXISTS ({OVERTAKEN})", _params(held))


def _params(held: Claim) -> dict[str, Any]:
    return {"run_id": held.id, "attempt": held.attempt}
