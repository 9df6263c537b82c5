"""Sends the outbox of webhooks: at least once, with retries for a day.

A process claims a delivery by moving the time of its next attempt into the future, in
one statement. If the process dies, another one retries at that time. Only the process
that made the latest attempt records its result.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpcore
import httpx
from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from spool.database.json import clean_text, dumps
from spool.telemetry import traces
from spool.threads.models import Thread
from spool.webhooks import hooks
from spool.webhooks.addresses import Policy, Refused, host_of, policy, port_of
from spool.webhooks.attempts import (
    MAX_BODY_BYTES,
    MAX_ERROR_LENGTH,
    MAX_RESPONSE_BYTES,
    Attempt,
    as_stored,
    readable,
)
from spool.webhooks.connections import CheckedNetwork
from spool.webhooks.models import WebhookDelivery

logger = logging.getLogger(__name__)

# How many deliveries are claimed together, and sent concurrently.
BATCH = 50
# The maximum size of a batch in Postgres: fifty large payloads may not fit into memory.
# At least one delivery is always claimed.
MAX_BYTES = 2**23
# The maximum number of concurrent batches in one process, to leave threads for the
# tick.
SENDERS = threading.Semaphore(2)
# Pauses between attempts, in seconds: a day in all.
PAUSES = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800)
# Keys of a run's `kwargs` that the wire does not show.
INTERNAL = ("reply_to",)
# The maximum random addition to a pause, as a fraction, so that a receiver that was
# down does not get a burst of requests.
JITTER = 0.2
# How long an attempt waits for the beginning of a response's body, which only operators
# read.
BODY_TIMEOUT_SECS = 1.0

TIMES = ("created_at", "updated_at", "run_started_at", "run_ended_at")

TAKE = """
WITH due AS (
    SELECT id, next_attempt_at, pg_column_size(payload) AS bytes
    FROM webhook_deliveries WHERE next_attempt_at <= clock_timestamp()
    ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT id, sum(bytes) OVER (ORDER BY next_attempt_at, id) - bytes AS before FROM due
)
UPDATE webhook_deliveries SET attempts = attempts + 1,
    next_attempt_at = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE id IN (SELECT id FROM counted WHERE before < %(max_bytes)s)
RETURNING *
"""


@dataclass(frozen=True)
class Outgoing:
    """A delivery with its request.

    `refusal` says why it can't be sent; `is_void` is true if no retry will help.
    """

    delivery: WebhookDelivery
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""
    is_void: bool = False


@dataclass(frozen=True)
class Answer:
    """The result of one attempt: an HTTP status, or an error.

    `response` is the beginning of the body. `is_final`: another attempt would change
    nothing.
    """

    delivery: WebhookDelivery
    status: int | None = None
    error: str = ""
    is_final: bool = False
    response: bytes = b""
    # The request's body, if it was rendered for this attempt.
    body: bytes = b""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    duration_ms: int = 0

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def as_attempt(self) -> Attempt:
        return Attempt(
            number=self.delivery.total_attempts,
            started_at=self.started_at.isoformat(),
            duration_ms=self.duration_ms,
            status=self.status,
            response=readable(self.response),
            error=clean_text(self.error)[:MAX_ERROR_LENGTH],
            body=readable(self.body, MAX_BODY_BYTES),
        )


def any_due() -> bool:
    return WebhookDelivery.objects.filter(next_attempt_at__lte=Now()).exists()


def deliver_due(*, may_go_on: Callable[[], bool] = lambda: True) -> int:
    """Send all due deliveries. Returns how many, or 0 if other threads already do it.

    Stops after a batch if `may_go_on` returns false, since the backlog may be endless.
    """
    if not SENDERS.acquire(blocking=False):
        return 0
    try:
        total = 0
        while may_go_on() and (taken := _take()):
            outgoing = [_outgoing(delivery) for delivery in taken]
            for answer in asyncio.run(_send_all(outgoing)):
                _note(answer)
            total += len(taken)
        return total
    finally:
        SENDERS.release()


def resend(wanted: QuerySet[WebhookDelivery]) -> int:
    """Send these deliveries now, even if already delivered, with all retries again."""
    return wanted.update(
        next_attempt_at=Now(),
        earlier_attempts=F("earlier_attempts") + F("attempts"),
        attempts=0,
        delivered_at=None,
    )


def delete_owned_by(owner: str) -> int:
    """Delete the deliveries for threads of an owner. Returns how many there were."""
    threads = Thread.objects.filter(owner=owner).values("pk")
    found = WebhookDelivery.objects.filter(thread_id__in=threads).delete()[1]
    return found.get(WebhookDelivery._meta.label, 0)


def sweep_deliveries() -> int:
    """Delete old deliveries that were delivered or given up. Returns their number."""
    age = timedelta(days=settings.WEBHOOK_DELIVERIES_TTL_DAYS)
    old = WebhookDelivery.objects.filter(
        next_attempt_at=None, created_at__lt=Now() - age
    )
    return old.delete()[0]


def _take() -> list[WebhookDelivery]:
    # Twice the timeout of an attempt, so that no delivery is claimed while being sent.
    lease = 2 * settings.WEBHOOK_TIMEOUT_SECS + 5
    params = {"lease": lease, "limit": BATCH, "max_bytes": MAX_BYTES}
    return list(WebhookDelivery.objects.raw(TAKE, params))


def _note(answer: Answer) -> None:
    """Record an attempt, unless the row has been claimed for a later one."""
    delivery = answer.delivery
    attempt = answer.as_attempt
    changes: dict[str, Any] = {
        "last_status": attempt.status,
        "last_error": attempt.error,
        # No other process has recorded an attempt since this one claimed the delivery.
        **as_stored(delivery, attempt),
    }
    if answer.is_delivered:
        changes |= {"delivered_at": Now(), "next_attempt_at": None}
    elif answer.is_final:
        changes["next_attempt_at"] = None
    elif delivery.attempts > len(PAUSES):
        logger.error("webhook %s of run %s: giving up", delivery.id, delivery.run_id)
        changes["next_attempt_at"] = None
    else:
        pause = PAUSES[delivery.attempts - 1]
        pause *= 1 + random.uniform(0, JITTER)  # type: ignore[assignment] # noqa: S311
        changes["next_attempt_at"] = Now() + timedelta(seconds=pause)
    ours = WebhookDelivery.objects.filter(
        pk=delivery.pk,
        attempts=delivery.attempts,
        earlier_attempts=delivery.earlier_attempts,
    )
    ours.update(**changes)


def _outgoing(delivery: WebhookDelivery) -> Outgoing:
    """Add the body: the run as it ended, or the body of a push configuration."""
    if delivery.push_config_id is None:
        return Outgoing(delivery, dumps(_payload(delivery)))
    try:
        rendered = hooks.render(delivery.push_config_id, delivery.run_id)
    except Exception as exc:  # Reads the state through the graph, which is user code.
        logger.exception("webhook %s could not be rendered", delivery.id)
        return Outgoing(
            delivery, refusal=f"could not be rendered: {type(exc).__name__}: {exc}"
        )
    if rendered is None:
        return Outgoing(delivery, refusal="deleted meanwhile", is_void=True)
    return Outgoing(delivery, rendered.body, rendered.headers)


async def _send_all(taken: Iterable[Outgoing]) -> list[Answer]:
    rules = policy()
    async with httpcore.AsyncConnectionPool(
        ssl_context=_ssl_context(),
        max_connections=BATCH,
        network_backend=CheckedNetwork(rules),
    ) as pool:
        return await asyncio.gather(*(_send(one, pool, rules) for one in taken))


async def _send(
    outgoing: Outgoing, pool: httpcore.AsyncConnectionPool, rules: Policy
) -> Answer:
    begin, started_at = time.monotonic(), datetime.now(UTC)
    answer = await _answer(outgoing, pool, rules)
    duration_ms = round(1000 * (time.monotonic() - begin))
    made = outgoing.body if outgoing.delivery.push_config_id else b""
    return replace(answer, body=made, started_at=started_at, duration_ms=duration_ms)


async def _answer(
    outgoing: Outgoing, pool: httpcore.AsyncConnectionPool, rules: Policy
) -> Answer:
    delivery = outgoing.delivery
    if outgoing.refusal:
        return Answer(delivery, error=outgoing.refusal, is_final=outgoing.is_void)
    try:
        # Redirects are not followed: they count as failures.
        status, response = await _traced_post(outgoing, pool, rules)
    except TimeoutError:
        error = f"no answer within {settings.WEBHOOK_TIMEOUT_SECS:g} s"
        return Answer(delivery, error=error)
    except Refused as exc:
        return Answer(delivery, error=f"refused: {exc}")
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as exc:
        return Answer(delivery, error=f"{type(exc).__name__}: {exc}")
    except Exception as exc:
        # An unexpected error must not block other deliveries.
        logger.exception("webhook %s could not be sent", delivery.id)
        return Answer(delivery, error=f"{type(exc).__name__}: {exc}")
    return Answer(delivery, status, response=response)


async def _traced_post(
    outgoing: Outgoing, pool: httpcore.AsyncConnectionPool, rules: Policy
) -> tuple[int, bytes]:
    delivery = outgoing.delivery
    about = {
        "http.request.method": "POST",
        "http.request.resend_count": delivery.attempts - 1,
        "spool.run.id": str(delivery.run_id),
        "spool.webhook.id": str(delivery.id),
    }
    parent = delivery.trace_context
    with traces.span("webhook", parent=parent, is_client=True, attributes=about):
        status, response = await _post(outgoing, pool, rules)
        error = "" if 200 <= status < 300 else str(status)
        traces.annotate({"http.response.status_code": status}, error)
    return status, response


async def _post(
    outgoing: Outgoing, pool: httpcore.AsyncConnectionPool, rules: Policy
) -> tuple[int, bytes]:
    """The status of the response, and the beginning of its body."""
    delivery, body = outgoing.delivery, outgoing.body
    url = rules.check_url(delivery.url)
    headers = {
        **(traces.carrier() or {}),
        **{name.lower(): value for name, value in rules.headers.items()},
        **_authorization(url),
        **outgoing.headers,
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": f"spool/{settings.VERSION}",
        **signature_headers(str(delivery.id), body),
    }
    target = httpcore.URL(
        scheme=url.raw_scheme,
        host=host_of(url).encode(),
        port=port_of(url),
        target=url.raw_path,
    )
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    limit = settings.WEBHOOK_TIMEOUT_SECS
    async with (
        asyncio.timeout(limit) as deadline,
        pool.stream("POST", target, headers=encoded, content=body) as response,
    ):
        # The status decides: a body that never comes must not make the attempt fail.
        deadline.reschedule(asyncio.get_running_loop().time() + limit)
        return response.status, await _beginning(response, limit / 2)


async def _beginning(response: httpcore.Response, limit: float) -> bytes:
    """The beginning of a response's body, as much as is received in time."""
    found = b""
    try:
        async with asyncio.timeout(min(BODY_TIMEOUT_SECS, limit)):
            async for chunk in response.aiter_stream():
                found += chunk
                if len(found) >= MAX_RESPONSE_BYTES:
                    break
    except (TimeoutError, httpcore.NetworkError, httpcore.ProtocolError, OSError):
        pass
    return found[:MAX_RESPONSE_BYTES]


def _payload(delivery: WebhookDelivery) -> dict[str, Any]:
    """The run as it ended, with its times in the wire's form."""
    payload = {"langsmith_session_name": None, **delivery.payload}
    if kwargs := payload.get("kwargs"):
        payload["kwargs"] = {k: v for k, v in kwargs.items() if k not in INTERNAL}
    for name in TIMES:
        if payload.get(name):
            payload[name] = datetime.fromisoformat(payload[name]).astimezone(UTC)
    return {**payload, "webhook_sent_at": datetime.now(UTC)}


def _authorization(url: httpx.URL) -> dict[str, str]:
    if not url.userinfo:
        return {}
    credentials = f"{url.username}:{url.password}".encode()
    return {"authorization": f"Basic {base64.b64encode(credentials).decode()}"}


def signature_headers(message_id: str, body: bytes) -> dict[str, str]:
    """The headers of the Standard Webhooks specification, which some libraries support.

    The id is the same in all attempts, so that receivers can detect duplicates.
    """
    sent_at = str(int(time.time()))
    headers = {"webhook-id": message_id, "webhook-timestamp": sent_at}
    if settings.WEBHOOK_SECRET:
        signed = f"{message_id}.{sent_at}.".encode() + body
        digest = hmac.digest(_key(settings.WEBHOOK_SECRET), signed, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    return secret.encode() if encoded == secret else base64.b64decode(encoded)


@cache
def _ssl_context() -> ssl.SSLContext:
    # httpx's context honours SSL_CERT_FILE, for receivers with a private authority.
    return httpx.create_ssl_context()
