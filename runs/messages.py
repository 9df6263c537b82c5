"""The message that wakes a worker for a run, sent by one command of Redis.

Celery builds each message from scratch, which costs more than everything else that a
request for a run does in Redis. Here Celery builds one message, and the others are
copies of it with their own ids, which workers of any version can read.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import orjson
from celery import Task
from django.conf import settings
from kombu import Connection

from spool.database.ids import uuid7
from spool.runs.streaming.events import redis_client

Message = dict[str, Any]


def can_push() -> bool:
    """Whether Kombu keeps its queues in the database that `redis_client` writes to.

    Both take the number of the database from the URL's path, but only one of them from
    its query.
    """
    address, _, query = settings.REDIS_URL.partition("?")
    is_known = address.startswith(("redis://", "rediss://", "unix://"))
    return is_known and "db=" not in query and "virtual_host=" not in query


def push(task: Task[Any, Any], run_id: str) -> None:
    """Send the task for this run. Raises `RedisError`."""
    queue = settings.RUNS_QUEUE
    message = _with_ids(_built(task, queue), run_id)
    redis_client().lpush(f"{settings.REDIS_KEY_PREFIX}{queue}", orjson.dumps(message))


def _with_ids(built: Message, run_id: str) -> Message:
    task_id, kwargs = str(uuid7()), {"run_id": run_id}
    args, _, embedded = built["body"]
    headers = {"id": task_id, "root_id": task_id, "kwargsrepr": repr(kwargs)}
    properties = {"correlation_id": task_id, "delivery_tag": str(uuid7())}
    return built | {
        "body": base64.b64encode(orjson.dumps([args, kwargs, embedded])).decode(),
        "headers": built["headers"] | headers,
        "properties": built["properties"] | properties,
    }


@cache
def _built(task: Task[Any, Any], queue: str) -> Message:
    """A message as Celery and Kombu build it, with its body decoded."""
    with Connection("memory://") as memory:
        channel: Any = memory.default_channel
        producer = memory.Producer(channel)
        task.apply_async(kwargs={"run_id": ""}, producer=producer, ignore_result=True)
        # A private method: it returns what the transport stores. See the test.
        built: Message = channel._get(queue)
    return built | {"body": orjson.loads(base64.b64decode(built["body"]))}
