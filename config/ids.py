"""Ids: those we make sort by time, those in a path are checked."""

from __future__ import annotations

import os
import uuid

import uuid_utils

from config.errors import Unprocessable

# Or two processes of one parent would make the same ids.
os.register_at_fork(after_in_child=uuid_utils.reseed_rng)


def uuid7() -> uuid.UUID:
    return uuid.UUID(int=uuid_utils.uuid7().int)


def path_uuid(text: str, what: str) -> uuid.UUID:
    """An id from a URL's path. Raises 422, naming `what` it is the id of."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Unprocessable(f"Invalid {what} ID: must be a UUID") from None
