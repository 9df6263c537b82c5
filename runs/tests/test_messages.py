"""The messages that wake workers: like Celery's own, and in Celery's queues."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisGone

from spool.config.celery import app
from spool.runs import messages, tasks
from spool.runs.streaming.events import redis_client

PREFIX = "test-messages:"


@pytest.fixture(autouse=True)
def _own_queues(settings: Any) -> Iterator[None]:
    """Queues that no worker of another test reads."""
    settings.REDIS_KEY_PREFIX = PREFIX
    client = redis_client()  # Before a test changes its URL.
    yield
    client.delete(f"{PREFIX}spool.runs")


def pushed() -> list[Any]:
    found: Any = redis_client().lrange(f"{PREFIX}spool.runs", 0, -1)
    return [json.loads(message) for message in found]


def body_of(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


def celerys_own(run_id: str) -> dict[str, Any]:
    with Connection("memory://") as memory:
        channel: Any = memory.default_channel
        producer = memory.Producer(channel)
        tasks.execute_run.apply_async(
            kwargs={"run_id": run_id}, producer=producer, ignore_result=True
        )
        message: dict[str, Any] = channel._get("spool.runs")
    return message


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    for part, names in (
        ("headers", ("id", "root_id")),
        ("properties", ("correlation_id", "delivery_tag")),
    ):
        for name in names:
            assert message[part].pop(name)
    return message | {"body": body_of(message)}


def test_a_message_is_celerys_own_but_for_its_ids() -> None:
    run_id = uuid4()

    tasks.dispatch(run_id)

    [message] = pushed()
    headers, properties = message["headers"], message["properties"]
    assert headers["id"] == headers["root_id"] == properties["correlation_id"]
    assert without_ids(message) == without_ids(celerys_own(str(run_id)))


def test_each_message_has_ids_of_its_own() -> None:
    for _ in range(3):
        tasks.dispatch(uuid4())

    found = pushed()

    assert len({message["headers"]["id"] for message in found}) == 3
    assert len({message["properties"]["delivery_tag"] for message in found}) == 3


def test_celery_reads_what_was_pushed() -> None:
    run_id = str(uuid4())
    tasks.dispatch(run_id)  # type: ignore[arg-type]
    options = {**app.conf.broker_transport_options, "global_keyprefix": PREFIX}

    with (
        Connection(app.conf.broker_url, transport_options=options) as connection,
        connection.SimpleQueue("spool.runs") as queue,
    ):
        message = queue.get(timeout=10)

    assert message.headers["task"] == "runs.tasks.execute_run"
    assert message.decode()[1] == {"run_id": run_id}


@pytest.mark.parametrize(
    ("url", "can"),
    [
        ("redis://:secret@redis:6379/1", True),
        ("rediss://redis:6379/0?ssl_cert_reqs=none", True),
        ("redis://redis:6379?db=1", False),
        ("unix:///run/redis.sock", True),
        ("unix:///run/redis.sock?db=1", False),
        ("sentinel://redis:26379", False),
    ],
)
def test_it_pushes_only_where_kombu_reads(settings: Any, url: str, can: bool) -> None:
    settings.REDIS_URL = url

    assert messages.can_push() is can


@pytest.mark.parametrize(
    "fault", [RedisGone("gone"), OperationalError("gone"), OSError("gone")]
)
def test_a_broker_that_is_away_fails_no_request(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(messages, "push", fail)

    tasks.dispatch(uuid4())

    assert "runs.tasks.execute_run was not sent: gone" in caplog.text
