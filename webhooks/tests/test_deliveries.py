"""The requests of webhooks, and their retries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now

from spool.database.tests.together import at_once
from spool.runs.models import Run
from spool.runs.serializers import run_json
from spool.runs.tests.conftest import Receiver
from spool.runs.tests.ending import ended
from spool.tests.live import WAIT_SECS
from spool.webhooks import deliveries
from spool.webhooks.attempts import MAX_ATTEMPTS, MAX_RESPONSE_BYTES, attempts_of
from spool.webhooks.deliveries import PAUSES, deliver_due, sweep_deliveries
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db


def due_now(delivery: WebhookDelivery) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=Now())


@pytest.fixture
def delivery(make_run: Callable[..., Run], receiver: Receiver) -> WebhookDelivery:
    return ended(make_run(webhook=f"{receiver.url}/hook?x=1"))


# --- What is sent -----------------------------------------------------------------------
def test_the_run_and_its_values_are_posted(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    assert deliver_due() == 1

    [call] = receiver.received
    assert call.path == "/hook?x=1"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["host"] == receiver.url.removeprefix("http://")
    assert call.headers["webhook-id"] == str(delivery.id)
    body = json.loads(call.body)
    run = Run.objects.get()
    assert body["run_id"] == str(run.id)
    assert body["status"] == "success"
    assert body["values"] == {"answer": 42, "nul": "a\ufffdb"}
    assert body["kwargs"] == run.kwargs
    assert "error" not in body
    assert set(run_json(run)) < set(body)


def test_times_are_in_the_form_of_the_wire(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    payload = {**delivery.payload, "run_ended_at": "2026-11-23T10:02:28.5+01:00"}
    WebhookDelivery.objects.update(payload=payload)

    deliver_due()

    body = json.loads(receiver.received[0].body)
    assert body["run_ended_at"] == "2026-11-23T09:02:28.500000+00:00"
    for name in ("created_at", "updated_at", "run_started_at", "webhook_sent_at"):
        assert len(body[name]) == len("2026-11-23T09:02:28.500000+00:00")


def test_a_failed_run_tells_its_error(
    make_run: Callable[..., Run], receiver: Receiver
) -> None:
    error = {"error": "ValueError", "message": "boom"}
    ended(make_run(webhook=receiver.url), "error", error)

    deliver_due()

    body = json.loads(receiver.received[0].body)
    assert (body["status"], body["error"]) == ("error", error)


def test_a_temporary_run_tells_no_values(
    make_run: Callable[..., Run], receiver: Receiver
) -> None:
    ended(make_run(webhook=receiver.url, thread_id=None))

    deliver_due()

    assert json.loads(receiver.received[0].body)["values"] is None


def test_headers_of_the_configuration_are_sent(
    make_run: Callable[..., Run],
    receiver: Receiver,
    webhook_config: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LG_WEBHOOK_TOKEN", "s3cret")
    webhook_config(
        headers={
            "X-Token": "${{ env.LG_WEBHOOK_TOKEN }}",
            "Content-Type": "text/plain",
        },
        url={"require_https": False, "disable_loopback": False},
    )
    ended(make_run(webhook=receiver.url))

    deliver_due()

    assert receiver.received[0].headers["x-token"] == "s3cret"
    assert receiver.received[0].headers["content-type"] == "application/json"


def test_credentials_of_the_url_are_sent_as_basic(
    make_run: Callable[..., Run], receiver: Receiver
) -> None:
    ended(make_run(webhook=receiver.url.replace("//", "//me:p%40ss@")))

    deliver_due()

    sent = receiver.received[0].headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent) == b"me:p@ss"


@pytest.mark.parametrize(
    ("secret", "key"),
    [("plain", b"plain"), ("whsec_c2VjcmV0IGtleQ==", b"secret key")],
)
def test_a_secret_signs_what_is_sent(
    delivery: WebhookDelivery,
    receiver: Receiver,
    settings: Any,
    secret: str,
    key: bytes,
) -> None:
    settings.WEBHOOK_SECRET = secret

    deliver_due()

    call = receiver.received[0]
    sent_at = call.headers["webhook-timestamp"]
    signed = f"{delivery.id}.{sent_at}.".encode() + call.body
    digest = hmac.digest(key, signed, hashlib.sha256)
    expected = f"v1,{base64.b64encode(digest).decode()}"
    assert call.headers["webhook-signature"] == expected
    assert abs(int(sent_at) - datetime.now(UTC).timestamp()) < 60


def test_without_a_secret_nothing_is_signed(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    deliver_due()

    assert "webhook-signature" not in receiver.received[0].headers


# --- Attempts -----------------------------------------------------------------------------
def test_what_was_delivered_is_not_sent_again(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    deliver_due()
    again = deliver_due()

    delivery.refresh_from_db()
    assert again == 0
    assert len(receiver.received) == 1
    assert delivery.delivered_at is not None
    assert (delivery.next_attempt_at, delivery.attempts) == (None, 1)
    assert (delivery.last_status, delivery.last_error) == (200, "")


def test_a_failure_is_tried_again_later_under_the_same_id(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    receiver.answers = [503, 200]

    deliver_due()
    delivery.refresh_from_db()
    refused, not_yet = delivery, deliver_due()
    due_now(delivery)
    deliver_due()

    assert not_yet == 0
    assert refused.last_status == 503
    assert refused.delivered_at is None
    delivery = WebhookDelivery.objects.get()
    assert delivery.delivered_at is not None
    assert delivery.attempts == 2
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_each_attempt_is_recorded(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    receiver.answers, receiver.body = [503, 200], b"d\x00own\x1b \xff" + b"x" * 5000

    deliver_due()
    deliveries.resend(WebhookDelivery.objects.all())
    deliver_due()

    delivery.refresh_from_db()
    assert delivery.total_attempts == 2
    (_, second), (_, first) = attempts_of(delivery)
    assert first
    assert second
    assert (first.number, first.status, first.error) == (1, 503, "")
    assert first.response.startswith("d\ufffdown\ufffd \ufffdxxx")
    assert len(first.response) <= MAX_RESPONSE_BYTES
    assert (second.number, second.status) == (2, 200)
    assert first.time < second.time


def test_only_the_last_attempts_are_kept(delivery: WebhookDelivery) -> None:
    for number in range(MAX_ATTEMPTS + 5):
        deliveries.resend(WebhookDelivery.objects.all())
        [taken] = deliveries._take()
        deliveries._note(deliveries.Answer(taken, error=f"error {number}"))

    delivery.refresh_from_db()
    shown = list(attempts_of(delivery))
    assert len(delivery.recorded) == len(shown) == MAX_ATTEMPTS
    assert all(attempt and attempt.number == number for number, attempt in shown)
    assert shown[0][0] == MAX_ATTEMPTS + 5


def test_bodies_are_kept_apart_as_long_as_their_attempts(
    delivery: WebhookDelivery,
) -> None:
    """The previous version only reads the keys of `recorded` that it knows."""
    for number in range(MAX_ATTEMPTS + 2):
        deliveries.resend(WebhookDelivery.objects.all())
        [taken] = deliveries._take()
        sent = f"body {number + 1}".encode()
        deliveries._note(deliveries.Answer(taken, status=500, body=sent))

    delivery.refresh_from_db()
    assert not any("body" in one for one in delivery.recorded)
    delivery.recorded[-1]["of_a_later_version"] = 1
    shown = list(attempts_of(delivery))
    assert all(one and one.body == f"body {number}" for number, one in shown)
    assert len(delivery.sent_bodies or {}) == MAX_ATTEMPTS


def test_a_body_that_never_comes_is_no_failure(
    delivery: WebhookDelivery, receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOK_TIMEOUT_SECS = 2
    receiver.body, receiver.keeps_body = b"never", True

    deliver_due()

    delivery.refresh_from_db()
    assert delivery.delivered_at is not None


def test_an_answer_from_before_it_was_sent_again_is_not_recorded(
    delivery: WebhookDelivery,
) -> None:
    [late] = deliveries._take()
    deliveries.resend(WebhookDelivery.objects.all())
    deliveries._take()

    deliveries._note(deliveries.Answer(late, 500))

    delivery.refresh_from_db()
    assert delivery.last_status is None
    assert [attempt for _, attempt in attempts_of(delivery)] == [None, None]


def test_attempts_are_spread_over_a_day_and_then_given_up(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    receiver.answers = [500]
    waits = []

    for _ in PAUSES:
        due_now(delivery)
        deliver_due()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT next_attempt_at - clock_timestamp() FROM webhook_deliveries"
            )
            waits.append(cursor.fetchone()[0])
    due_now(delivery)
    deliver_due()

    for wait, pause in zip(waits, PAUSES, strict=True):
        assert pause * 0.9 - 5 < wait.total_seconds() < pause * 1.21
    assert timedelta(hours=20) < sum(waits, timedelta()) < timedelta(hours=30)
    delivery.refresh_from_db()
    assert (delivery.next_attempt_at, delivery.delivered_at) == (None, None)
    assert delivery.attempts == len(PAUSES) + 1


def test_a_receiver_that_does_not_answer_is_given_up_in_time(
    delivery: WebhookDelivery, receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOK_TIMEOUT_SECS = 0.3
    receiver.may_answer.clear()

    deliver_due()

    delivery.refresh_from_db()
    assert delivery.last_error == "no answer within 0.3 s"
    assert delivery.next_attempt_at is not None


def test_a_name_server_that_does_not_answer_holds_up_nothing(
    make_run: Callable[..., Run],
    receiver: Receiver,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.WEBHOOK_TIMEOUT_SECS = 2
    slow, fast = "http://slow.example.com/", receiver.url
    deliveries_of = [ended(make_run(webhook=url)) for url in (slow, fast)]
    answer, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        return (
            answer.wait(WAIT_SECS)
            if host.startswith("slow")
            else real(host, *args, **kwargs)
        )

    monkeypatch.setattr("spool.webhooks.addresses.socket.getaddrinfo", getaddrinfo)

    # It returns although the name server has not responded yet.
    sent = deliver_due()
    answer.set()

    for delivery in deliveries_of:
        delivery.refresh_from_db()
    assert sent == 2
    assert deliveries_of[0].last_error == "no answer within 2 s"
    assert deliveries_of[1].delivered_at is not None


def test_one_that_answers_a_byte_at_a_time_is_given_up_in_time(
    make_run: Callable[..., Run], receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOK_TIMEOUT_SECS = 0.5
    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=[server])
        dripping.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        delivery = ended(make_run(webhook=url))

        deliver_due()

    dripping.join()
    delivery.refresh_from_db()
    assert delivery.last_error == "no answer within 0.5 s"


def drip(server: socket.socket) -> None:
    peer, _ = server.accept()
    with peer:
        peer.settimeout(0.05)
        try:
            for _ in range(400):
                peer.sendall(b"H")
                try:
                    if not peer.recv(65536):
                        return
                except TimeoutError:
                    pass
        except OSError:
            return


def test_a_refused_connection_is_named_in_the_failure(
    make_run: Callable[..., Run], receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    delivery = ended(make_run(webhook=f"http://127.0.0.1:{port}/"))

    deliver_due()

    delivery.refresh_from_db()
    assert delivery.last_error.startswith("ConnectError")
    assert delivery.last_status is None


def test_one_bad_receiver_does_not_keep_the_others_waiting(
    make_run: Callable[..., Run], receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/", receiver.url, receiver.url):
        run = make_run(webhook=url)
        ended(run)

    assert deliver_due() == 3
    assert len(receiver.received) == 2


@pytest.mark.django_db(transaction=True)
def test_what_two_workers_find_is_sent_once(
    make_run: Callable[..., Run], receiver: Receiver
) -> None:
    for _ in range(20):
        ended(make_run(webhook=receiver.url))

    at_once([deliver_due] * 2)

    sent = [call.headers["webhook-id"] for call in receiver.received]
    assert len(sent) == len(set(sent)) == 20


def test_a_worker_that_dies_while_it_sends_is_made_up_for(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    assert deliveries._take()  # Claimed by a process that then dies.
    at_once = deliver_due()
    due_now(delivery)  # The lease has expired.

    later = deliver_due()

    assert (at_once, later) == (0, 1)
    assert len(receiver.received) == 1


def test_a_late_answer_changes_nothing_for_a_later_attempt(
    delivery: WebhookDelivery, receiver: Receiver
) -> None:
    [late] = deliveries._take()
    due_now(delivery)
    deliver_due()

    deliveries._note(deliveries.Answer(late, 500))

    delivery.refresh_from_db()
    assert (delivery.last_status, delivery.next_attempt_at) == (200, None)


def test_old_records_are_swept(delivery: WebhookDelivery) -> None:
    deliver_due()
    waiting = WebhookDelivery.objects.create(
        run_id=uuid4(), thread_id=uuid4(), url="https://example.com", payload={}
    )
    kept = sweep_deliveries()
    WebhookDelivery.objects.update(created_at=Now() - timedelta(days=8))

    swept = sweep_deliveries()

    assert (kept, swept) == (0, 1)
    assert WebhookDelivery.objects.get() == waiting
