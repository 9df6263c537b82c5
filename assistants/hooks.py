"""Hooks of assistants that higher parts fill, in `spool/hooks.py`."""

from __future__ import annotations

from uuid import UUID

from spool.access.policy import Scope
from spool.config.hook import Hook

# Delete the threads in the scope whose last run used this assistant.
delete_threads_of: Hook[[UUID, Scope], None] = Hook("assistants.delete_threads_of")

# Called in the transaction that deletes this assistant.
deleted: Hook[[UUID], None] = Hook("assistants.deleted")

# Called after a change of assistants is committed, for clients that list them.
changed: Hook[[], None] = Hook("assistants.changed")
