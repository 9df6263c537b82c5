"""How a worker takes the messages that wake it for runs.

Celery would wrap each message in a request, and pass it to a thread, which would wait
for the run. This takes a tenth of a worker's CPU. Here the run's id is passed directly
to the worker, which executes runs on its event loop. This uses the documented
`Task.Strategy`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
from celery import Celery, Task
from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default
from django.conf import settings

logger = logging.getLogger(__name__)

# Called with the run's id, and how often full workers have forwarded the message.
Wake = Callable[[UUID, int], None]


def strategy(wake: Wake) -> Any:
    """The strategy of a task whose arguments are those of `wake`."""

    def start(
        task: Task[Any, Any], app: Celery, consumer: Any, **options: Any
    ) -> Callable[..., Any]:
        if settings.BG_JOB_ISOLATED_LOOPS:  # Each thread has its own loop.
            return default(task, app, consumer, **options)

        def take(message: Any, body: Any, ack: Any, *_: Any, **__: Any) -> None:
            run_id, hops = _arguments(message, body)
            ack(logger, consumer.connection_errors)
            try:
                wake(run_id, hops)
            except Exception:  # Would end the consumer. The tick finds the run.
                logger.exception("run %s: could not be taken", run_id)

        return take

    # As an attribute of the class, a plain function would become a method.
    return staticmethod(start)


def _arguments(message: Any, body: Any) -> tuple[UUID, int]:
    """Read the arguments. Only messages of Celery's first protocol have a `body`."""
    try:
        kwargs = body["kwargs"] if body else orjson.loads(message.body)[1]
        return UUID(kwargs["run_id"]), int(kwargs.get("hops", 0))
    except (ValueError, TypeError, LookupError) as exc:
        raise InvalidTaskError(f"not a message for a run: {exc}") from None
