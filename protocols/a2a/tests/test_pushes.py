"""Push notifications: configured by clients, delivered by the outbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings

from spool.access.tests.people import streamed
from spool.protocols.a2a.pushes import MAX_CONFIGS_PER_TASK
from spool.protocols.a2a.tests.calling import (
    Caller,
    Failed,
    execute_all,
)
from spool.runs.tests.conftest import Receiver
from spool.runs.tests.executing import Here
from spool.threads.models import Thread
from spool.threads.services import delete_threads
from spool.webhooks import secrets
from spool.webhooks.attempts import MAX_BODY_BYTES, attempts_of
from spool.webhooks.deliveries import deliver_due
from spool.webhooks.models import PushConfig, WebhookDelivery

pytestmark = pytest.mark.django_db(transaction=True)

SET = "CreateTaskPushNotificationConfig"


def configure(calls: Caller, task_id: str, url: str, **more: Any) -> Any:
    return calls.call(SET, taskId=task_id, url=url, **more)


def test_an_end_is_sent_to_every_configuration(
    alice_calls: Caller, here: Here, receiver: Receiver
) -> None:
    task = alice_calls.send("please")
    basic = {"scheme": "Basic", "credentials": "YTpi"}
    configure(alice_calls, task["id"], f"{receiver.url}/a", id="a", token="t0ken")
    configure(
        alice_calls, task["id"], f"{receiver.url}/b", id="b", authentication=basic
    )

    execute_all(here)
    assert deliver_due() == 2

    sent = {one.path: one for one in receiver.received}
    assert sent["/a"].headers["x-a2a-notification-token"] == "t0ken"
    assert sent["/b"].headers["authorization"] == "Basic YTpi"
    body = json.loads(sent["/a"].body)["task"]
    assert body["id"] == task["id"]
    assert body["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert body["status"]["message"]["parts"][0]["text"] == "Are you sure?"
    # The record of attempts is for operators: the row itself has no payload.
    for delivery in WebhookDelivery.objects.all():
        [(_, attempt)] = attempts_of(delivery)
        assert attempt
        assert attempt.body == sent["/a"].body[:MAX_BODY_BYTES].decode()


def test_a_configuration_comes_with_the_message(
    alice_calls: Caller, here: Here, receiver: Receiver
) -> None:
    """It is stored with its run, so it can't miss the run's end."""
    wanted = {"taskPushNotificationConfig": {"url": receiver.url, "token": "x"}}

    task = alice_calls.send("please", configuration=wanted)
    execute_all(here)
    alice_calls.send("yes", taskId=task["id"])
    execute_all(here)
    deliver_due()

    states = [
        json.loads(one.body)["task"]["status"]["state"] for one in receiver.received
    ]
    assert sorted(states) == ["TASK_STATE_COMPLETED", "TASK_STATE_INPUT_REQUIRED"]


def test_a_client_of_0_3_gets_its_own_shape(
    alice_calls: Caller, here: Here, receiver: Receiver
) -> None:
    task = alice_calls.send("please")
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tasks/pushNotificationConfig/set",
        "params": {
            "taskId": task["id"],
            "pushNotificationConfig": {"url": receiver.url},
        },
    }
    alice_calls.client.call("post", "/a2a/confirming", body)
    assert PushConfig.objects.count() == 0  # Nothing runs until its response is read.
    streamed(alice_calls.client.call("post", "/a2a/confirming", body))
    execute_all(here)
    deliver_due()

    [sent] = receiver.received
    shown = json.loads(sent.body)
    assert (shown["kind"], shown["status"]["state"]) == ("task", "input-required")


def test_secrets_are_not_kept_in_plain_text(
    alice_calls: Caller, receiver: Receiver
) -> None:
    task = alice_calls.send("please")
    configure(alice_calls, task["id"], receiver.url, id="a", token="t0ken")

    kept = PushConfig.objects.get()

    assert "t0ken" not in kept.secrets
    assert "t0ken" in secrets.decrypt(kept.secrets)
    found = alice_calls.call("GetTaskPushNotificationConfig", taskId=task["id"], id="a")
    assert found["token"] == "t0ken"


def test_an_earlier_key_still_reads_them(settings: LazySettings) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    kept = secrets.encrypt("t0ken")

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert secrets.decrypt(kept) == "t0ken"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(secrets.Unreadable):
        secrets.decrypt(kept)


def test_what_can_not_be_read_is_tried_again(
    alice_calls: Caller, here: Here, receiver: Receiver, settings: LazySettings
) -> None:
    task = alice_calls.send("please")
    configure(alice_calls, task["id"], receiver.url, token="t0ken")
    execute_all(here)
    settings.SECRET_KEY = "lost"

    deliver_due()

    delivery = WebhookDelivery.objects.get()
    assert "DJANGO_SECRET_KEY" in delivery.last_error
    assert delivery.next_attempt_at is not None
    assert receiver.received == []


def test_nothing_is_sent_once_the_configuration_is_gone(
    alice_calls: Caller, here: Here, receiver: Receiver
) -> None:
    task = alice_calls.send("please")
    configure(alice_calls, task["id"], receiver.url, id="a")
    execute_all(here)
    alice_calls.call("DeleteTaskPushNotificationConfig", taskId=task["id"], id="a")

    deliver_due()

    delivery = WebhookDelivery.objects.get()
    assert (delivery.last_error, delivery.next_attempt_at) == (
        "deleted meanwhile",
        None,
    )
    assert receiver.received == []


def test_configurations_go_with_their_thread(
    alice_calls: Caller, receiver: Receiver
) -> None:
    task = alice_calls.send("please")
    configure(alice_calls, task["id"], receiver.url)

    delete_threads(Thread.objects.filter(pk=task["contextId"]))

    assert PushConfig.objects.count() == 0


def test_one_of_the_same_id_is_replaced(
    alice_calls: Caller, receiver: Receiver
) -> None:
    task = alice_calls.send("please")

    for path in ("one", "two"):
        made = configure(alice_calls, task["id"], f"{receiver.url}/{path}")
        assert made["id"] == task["id"]

    assert PushConfig.objects.get().url == f"{receiver.url}/two"


def test_there_are_only_so_many(alice_calls: Caller, receiver: Receiver) -> None:
    task = alice_calls.send("please")
    for number in range(MAX_CONFIGS_PER_TASK):
        configure(alice_calls, task["id"], receiver.url, id=str(number))

    with pytest.raises(Failed, match="at most"):
        configure(alice_calls, task["id"], receiver.url, id="one more")


@pytest.mark.parametrize(
    "given",
    [
        {"url": "http://169.254.169.254/"},
        {"url": "ftp://example.com/"},
        {"url": "http://127.0.0.1/", "token": "a\r\nx-evil: 1"},
        {"url": "http://127.0.0.1/", "token": "ü"},
        {"url": "http://127.0.0.1/", "authentication": {"scheme": "B\n"}},
        {"url": "http://127.0.0.1/", "token": "x" * 5000},
    ],
)
@pytest.mark.usefixtures("receiver")
def test_bad_ones_are_refused(alice_calls: Caller, given: dict[str, Any]) -> None:
    task = alice_calls.send("please")

    with pytest.raises(Failed):
        alice_calls.call(SET, taskId=task["id"], **given)
    with pytest.raises(Failed):
        alice_calls.send("hi", configuration={"taskPushNotificationConfig": given})

    assert PushConfig.objects.count() == 0


def test_webhooks_that_are_off_are_off_here_too(
    alice_calls: Caller, http_options: Callable[..., None]
) -> None:
    http_options(disable_webhooks=True)
    task = alice_calls.send("please")

    with pytest.raises(Failed, match="disabled"):
        configure(alice_calls, task["id"], "https://example.com/")
