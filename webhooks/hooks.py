"""Functions of higher layers that webhooks need; set in `spool/hooks.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from spool.config.hook import Hook


@dataclass(frozen=True)
class Rendered:
    """The content of a delivery: a JSON body, and headers besides the usual ones."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


# Renders the body for a push configuration, with the state of the task after a run,
# given the ids of both. Returns None if one of them was deleted.
render: Hook[[UUID, UUID], Rendered | None] = Hook("webhooks.render")
