"""The only package that writes `Run.status` and `Thread.status`.

    pending --claim--> running --end--> success | error | timeout | interrupted
       ^                  |
       +----hand back-----+        pending --cancel--> interrupted

A move is one guarded statement, which returns whether it changed a row. Losing a race
is an expected result, not an error. A worker's moves name the attempt that it holds.

Decisions that depend on a thread's runs are made under a lock on the thread's row. A
separate statement takes the lock where the next one must see what was committed while
it waited: under READ COMMITTED, each statement takes a new snapshot.

The statements are run by Django's connection (web, tick) and by a worker's async pool.
"""

from __future__ import annotations

from spool.runs.lifecycle.claiming import (
    SEQS_OF_ATTEMPT,
    Claim,
    Claimant,
    claim,
    is_gone,
    is_held,
)
from spool.runs.lifecycle.creating import (
    Creating,
    Creation,
    NewRun,
    create,
    create_many,
)
from spool.runs.lifecycle.ending import (
    Ended,
    Outcome,
    end,
    end_here,
    note_reason,
    note_reason_of,
    request_stop,
)
from spool.runs.lifecycle.locks import lock_thread
from spool.runs.lifecycle.requeueing import (
    LET_GO,
    hand_back,
    hold_back,
    let_in,
    lost_too_often,
    take_back,
)
from spool.runs.lifecycle.waking import Searched, any_waits, make_ready, missed

__all__ = [
    "LET_GO",
    "SEQS_OF_ATTEMPT",
    "Claim",
    "Claimant",
    "Creating",
    "Creation",
    "Ended",
    "NewRun",
    "Outcome",
    "Searched",
    "any_waits",
    "claim",
    "create",
    "create_many",
    "end",
    "end_here",
    "hand_back",
    "hold_back",
    "is_gone",
    "is_held",
    "let_in",
    "lock_thread",
    "lost_too_often",
    "make_ready",
    "missed",
    "note_reason",
    "note_reason_of",
    "request_stop",
    "take_back",
]
