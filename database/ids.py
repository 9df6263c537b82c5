"""Ids that sort by the time of their creation."""

from __future__ import annotations

import os
import uuid

import uuid_utils

# Without this, forked processes would generate the same ids.
os.register_at_fork(after_in_child=uuid_utils.reseed_rng)


def uuid7() -> uuid.UUID:
    return uuid.UUID(int=uuid_utils.uuid7().int)
