"""What webhooks need of the parts above them; filled in `spool/hooks.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from spool.config.hook import Hook


@dataclass(frozen=True)
class Rendered:
    """What is sent: a JSON body, and headers beside those of every webhook."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


# The body for a push configuration, of the state in which a run left its task, by the ids
# of the two. None: there is nothing to say any more, since one of them was deleted.
render: Hook[[UUID, UUID], Rendered | None] = Hook("webhooks.render")
