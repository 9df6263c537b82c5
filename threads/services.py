"""Use cases that write threads."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models.functions import Now

from access.policy import Scope
from config.errors import Conflict, Unprocessable
from config.fields import Merge
from config.ids import uuid7
from config.json import jsonb
from config.loop import shared_loop
from threads.checkpoints import copy_checkpoints, delete_checkpoints, saver
from threads.models import Thread, ThreadQuerySet

# One statement: a second creator of the same id gets no row, and no error either.
INSERT = """
INSERT INTO threads (
    id, status, resting_status, metadata, config, created_at, updated_at,
    state_updated_at, ttl_minutes, ttl_strategy, expires_at
)
VALUES (
    %(id)s, 'idle', 'idle', %(metadata)s, '{}', now(), now(), now(), %(minutes)s,
    %(strategy)s, now() + make_interval(secs => %(minutes)s * 60)
)
ON CONFLICT (id) DO NOTHING
RETURNING *
"""


class ThreadExists(Conflict):
    def __init__(self, thread_id: UUID) -> None:
        super().__init__(f"Thread with ID {thread_id} already exists")


def create_thread(
    *,
    scope: Scope,
    thread_id: UUID | None,
    metadata: dict[str, Any],
    ttl: dict[str, Any] | None,
    if_exists: str,
) -> Thread:
    """Insert a thread; an existing one is an error, or the answer (`do_nothing`)."""
    ttl = ttl or {}
    params = {
        "id": thread_id or uuid7(),
        "metadata": jsonb(metadata),
        "minutes": ttl.get("ttl"),
        "strategy": ttl.get("strategy", Thread.TTLStrategy.DELETE),
    }
    inserted = list(Thread.objects.raw(INSERT, params))
    if inserted:
        return inserted[0]
    existing = Thread.objects.visible_to(scope).filter(pk=params["id"]).first()
    if existing is None or if_exists == "raise":
        # Somebody else's thread: the same answer as for one's own.
        raise ThreadExists(params["id"])
    return existing


def update_thread(
    threads: ThreadQuerySet, *, metadata: dict[str, Any], ttl: dict[str, Any] | None
) -> bool:
    """Merge metadata at its top level, in the database, so that no key is lost."""
    changes: dict[str, Any] = {"updated_at": Now()}
    if metadata:
        changes["metadata"] = Merge("metadata", metadata)
    if ttl:
        changes |= {
            "ttl_minutes": ttl["ttl"],
            "ttl_strategy": ttl["strategy"],
            "expires_at": Now() + timedelta(minutes=ttl["ttl"]),
        }
    return bool(threads.update(**changes))


@transaction.atomic
def delete_thread(threads: ThreadQuerySet, thread_id: UUID) -> bool:
    """Delete a thread with its runs and its state. False: there is none in `threads`.

    A run in flight loses its row first, and with it the right to save anything: its
    last save is waited for, and then goes with the others.
    """
    if not threads.select_for_update().filter(pk=thread_id).exists():
        return False
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM runs WHERE thread_id = %s", [thread_id])
    delete_checkpoints([thread_id])
    Thread.objects.filter(pk=thread_id).delete()
    return True


@transaction.atomic
def copy_thread(source: Thread, metadata: dict[str, Any]) -> Thread:
    """A thread with the same state and history, and no runs."""
    status = source.resting_status
    copy = Thread(
        id=uuid4(),
        metadata=metadata,
        config=source.config,
        status=status,
        resting_status=status,
        values=source.values,
        interrupts=source.interrupts,
        error=source.error,
    )
    copy.save(force_insert=True)
    copy_checkpoints(source.id, copy.id)
    copy.refresh_from_db()
    return copy


def prune_threads(threads: ThreadQuerySet, strategy: str) -> int:
    """Delete these threads, or all of their state but the newest. How many there were."""
    ids = list(threads.values_list("pk", flat=True))
    if strategy == Thread.TTLStrategy.DELETE:
        return sum(delete_thread(threads, thread_id) for thread_id in ids)
    try:
        shared_loop().run(_keep_latest(ids))
    except NotImplementedError as exc:
        raise Unprocessable(f"strategy: {exc}") from None
    return len(ids)


async def _keep_latest(thread_ids: Iterable[UUID]) -> None:
    names = [str(thread_id) for thread_id in thread_ids]
    await saver(shared_loop().pool).aprune(names, strategy="keep_latest")
