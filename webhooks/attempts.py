"""The record of attempts to send a webhook, for operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from spool.database.json import clean_text
from spool.webhooks.models import WebhookDelivery

# How many of the last attempts of a delivery are kept, and how much of each response.
MAX_ATTEMPTS = 30
MAX_RESPONSE_BYTES = 2_048
# How much of the request's body is kept, if the row has no payload.
MAX_BODY_BYTES = 4_096
MAX_ERROR_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. `number` includes those before the delivery was sent again."""

    number: int
    started_at: str
    duration_ms: int
    # Either the response, or why there was none.
    status: int | None = None
    response: str = ""
    error: str = ""
    # The beginning of the request's body, if it was rendered for this attempt.
    body: str = ""

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.started_at)


KEYS = frozenset(one.name for one in fields(Attempt))


def as_stored(delivery: WebhookDelivery, newest: Attempt) -> dict[str, Any]:
    """The columns of a delivery, with the newest attempt added."""
    stored = asdict(newest)
    del stored["body"]
    columns: dict[str, Any] = {
        "recorded": [*delivery.recorded[1 - MAX_ATTEMPTS :], stored]
    }
    if newest.body:
        oldest = newest.number - MAX_ATTEMPTS
        kept = (delivery.sent_bodies or {}).items()
        bodies = {number: body for number, body in kept if int(number) > oldest}
        columns["sent_bodies"] = {**bodies, str(newest.number): newest.body}
    return columns


def attempts_of(delivery: WebhookDelivery) -> Iterator[tuple[int, Attempt | None]]:
    """The last attempts by number, the newest first.

    An attempt is None if no result was recorded: it is being sent, its process has
    died, or an older version sent it.
    """
    known = {one["number"]: _read(delivery, one) for one in delivery.recorded}
    last = delivery.total_attempts
    for number in range(last, max(last - MAX_ATTEMPTS, 0), -1):
        yield number, known.get(number)


def _read(delivery: WebhookDelivery, stored: dict[str, Any]) -> Attempt:
    # A later version may have more keys.
    attempt = Attempt(**{key: stored[key] for key in KEYS & stored.keys()})
    body = (delivery.sent_bodies or {}).get(str(attempt.number), attempt.body)
    return replace(attempt, body=body)


def readable(body: bytes, max_bytes: int = MAX_RESPONSE_BYTES) -> str:
    """The beginning of a body as text. Bytes that aren't text become U+FFFD."""
    text = clean_text(body[:max_bytes].decode("utf-8", "replace"))
    kept = (c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return "".join(kept)
