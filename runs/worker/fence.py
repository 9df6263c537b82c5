"""The fences of an attempt: after it has lost its run, its writes change nothing."""

from __future__ import annotations

from typing import Any

from spool.runs.lifecycle import Claim
from spool.store.statements import Permit
from spool.threads.checkpoints import Fence

# KEY SHARE blocks a DELETE of the run.
HOLDER = """
SELECT id FROM runs
WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
FOR KEY SHARE
"""
SAVE = """
SELECT spool_save_1(%(run_id)s, %(attempt)s, %(saves)s, %(blobs)b) AS is_saved
"""
OVERTAKEN = "SELECT FROM runs WHERE id = %(run_id)s AND attempt > %(attempt)s"


def fence_of(held: Claim) -> Fence:
    """The fence for checkpoints, open as long as the attempt holds its run."""
    return Fence(held.id, HOLDER, SAVE, _params(held))


def store_permit_of(held: Claim) -> Permit:
    """The permit for store items, valid until the next attempt has begun.

    It stays valid after the run, since a graph may start work that continues then.
    """
    return Permit(f"NOT EXISTS ({OVERTAKEN})", _params(held))


def _params(held: Claim) -> dict[str, Any]:
    return {"run_id": held.id, "attempt": held.attempt}
