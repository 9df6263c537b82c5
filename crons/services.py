"""Use cases that write crons, other than firing them (see `crons.firing`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from spool.crons.creator import Creator
from spool.crons.models import Cron
from spool.crons.schedule import next_slot
from spool.crons.serializers import CatchUpField, CronRequest
from spool.runs.models import Run
from spool.runs.serializers import RunRequest
from spool.runs.services import create_run
from spool.web.bodies import valid
from spool.web.errors import Conflict, NotFound, Unprocessable
from spool.webhooks import addresses

# The one change that only ever makes fewer runs.
STOPS = {"enabled": False}
# Changes to these alone change nothing of a run, and with the metadata not whether there
# can be one.
TIMING = {"schedule", "timezone", "end_time", "enabled", "catch_up"}
HARMLESS = {*TIMING, "metadata"}


def create_cron(
    *,
    cron_id: UUID,
    creator: Creator,
    thread_id: UUID | None,
    request: dict[str, Any],
    payload: dict[str, Any],
) -> Cron:
    """Store a cron. `request` is the validated `payload`, with the policy's stamp."""
    cron = Cron(
        id=cron_id,
        thread_id=thread_id,
        metadata=request["metadata"],
        creator=creator.as_json(),
        user_id=creator.threads.identity,
    )
    _schedule(cron, request)
    cron.catch_up = request["catch_up"]
    _keep_payload(cron, request, payload)
    _rehearse(cron, request["assistant_id"])
    cron.save(force_insert=True)
    cron.refresh_from_db()
    return cron


class ChangedMeanwhile(Conflict):
    default_detail = "The cron was changed meanwhile: look at it, and try again"


@transaction.atomic
def update_cron(
    *,
    cron: Cron,
    changes: dict[str, Any],
    stamp: dict[str, Any],
    editor: Creator | None = None,
) -> Cron:
    """Change what `changes` names; the rest of the request is as it was.

    `stamp` goes into the metadata, see `changed_metadata`. The runs stay the creator's,
    but an `editor` who changes them, or when they are made, must be able to make them.
    The policy was asked about the `cron` that is given: what has changed since then
    raises 409. The row is locked, so that a tick leaves it alone until the commit, and of
    two changes none is lost.
    """
    asked = cron
    cron = locked(cron, missing=f"Cron '{cron.id}' not found")
    if editor:
        check_makes_the_same(asked, cron)
    was_enabled = cron.enabled
    if changes.get("enabled", False) is None:
        raise Unprocessable("enabled: must be true or false")
    request = changed_request(cron, changes)
    cron.metadata = changed_metadata(cron, stamp)
    _schedule(cron, request)
    cron.catch_up = request["catch_up"]
    _keep_payload(cron, request, _changed_payload(cron, changes))
    # One whose assistant is gone can still be paused, but not be enabled again.
    if changes.keys() - HARMLESS or (cron.enabled and not was_enabled):
        _rehearse(cron, request["assistant_id"])
    if editor:
        check_sees(editor, cron)
    cron.updated_at = database_now()
    cron.save()
    return cron


def changed_request(cron: Cron, changes: dict[str, Any]) -> dict[str, Any]:
    """The whole request, validated, as `changes` would have it."""
    # By its id: what it was called by may be no graph's name any more.
    assistant = {"assistant_id": str(cron.assistant_id)}
    data = {**_changed_payload(cron, {}), **assistant, **changes}
    return valid(CronRequest, data)


def changed_metadata(cron: Cron, stamp: dict[str, Any]) -> dict[str, Any]:
    """`stamp` merged into the metadata. Whose the cron is, nobody changes."""
    merged = {**cron.metadata, **stamp}
    if "owner" in cron.metadata:
        merged["owner"] = cron.metadata["owner"]
    return merged


@transaction.atomic
def pause(*, cron: Cron, reason: str) -> None:
    """Let a cron fire no more until it is resumed, and tell its owner why."""
    cron = locked(cron)
    if cron.enabled:
        disable(cron, reason)
        cron.updated_at = database_now()
        cron.save()


@transaction.atomic
def resume(*, cron: Cron) -> None:
    """Let a cron go on from now. Raises why it can't: its thread is gone, say."""
    cron = locked(cron)
    schedule = {"schedule": cron.schedule, "timezone": cron.timezone}
    _schedule(cron, {**schedule, "end_time": cron.end_time, "enabled": True})
    _rehearse(cron, str(cron.assistant_id))
    cron.updated_at = database_now()
    cron.save()


@transaction.atomic
def delete_cron(cron: Cron) -> None:
    """Delete a cron and its firings; a tick that is firing it ends first."""
    locked(cron).delete()


def locked(cron: Cron, *, missing: str = "Not Found") -> Cron:
    """The cron as it is now, and stays until the transaction ends."""
    fresh = Cron.objects.select_for_update().filter(pk=cron.pk).first()
    if fresh is None:
        raise NotFound(missing)
    return fresh


def check_makes_the_same(asked: Cron, now: Cron) -> None:
    """Whether a cron still makes the runs that the policy was asked about.

    Of two changes at once each may be allowed, and what they come to together not.
    Nothing is locked while a handler is asked: that may take its time.
    """
    if _what_it_makes(asked) != _what_it_makes(now):
        raise ChangedMeanwhile


def _what_it_makes(cron: Cron) -> tuple[UUID, dict[str, Any]]:
    payload = {key: cron.payload[key] for key in cron.payload.keys() - TIMING}
    return cron.assistant_id, payload


def make_run(cron: Cron, *, creator: Creator | None = None, **instead: str) -> Run:
    """A run of the cron, made as if its creator had asked for it.

    `instead` overrides fields of the request that the cron keeps.
    """
    creator = creator or Creator.from_json(cron.creator)
    return create_run(
        scope=creator.threads,
        assistants=creator.assistants,
        thread_id=cron.thread_id,
        run_class=Run.RunClass.CRON,
        # `headers` go into `configurable` beside what the request has there. Not in its
        # own: one with `context` may have none, and no graph's schema knows this key.
        request={
            **run_request(cron, **instead),
            "headers": {**creator.configurable, "cron_id": str(cron.id)},
        },
    )


def check_sees(asker: Creator, cron: Cron) -> None:
    """Whoever has a cron make a run of its creator's must be able to make it themselves.

    Raises why they can't: they don't see its thread or its assistant, say.
    """
    if asker.as_nobody() != Creator.from_json(cron.creator).as_nobody():
        _rehearse_as(asker, cron)


def run_request(cron: Cron, **instead: str) -> dict[str, Any]:
    """The request for a run that the cron keeps, validated, without what we add."""
    config = dict(cron.payload["config"])
    configurable = dict(config.pop("configurable"))
    del configurable["cron_id"]
    if configurable:
        config["configurable"] = configurable
    request = {
        **cron.payload,
        "config": config,
        "assistant_id": str(cron.assistant_id),
        "metadata": cron.metadata,
        "on_completion": cron.on_run_completed,
        **instead,
    }
    return valid(RunRequest, request)


def disable(cron: Cron, reason: str) -> None:
    """Let a cron fire no more, and say why. For the tick, which holds its lock."""
    cron.enabled = False
    cron.next_run_date = None
    cron.disabled_reason = reason


def next_run(cron: Cron, *, after: datetime) -> datetime | None:
    """The cron's first slot later than `after`, unless its end comes first."""
    slot = next_slot(cron.schedule, cron.timezone, after=after)
    if slot is None or (cron.end_time and slot > cron.end_time):
        return None
    return slot


def database_now() -> datetime:
    """The clock that all machines share."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def _schedule(cron: Cron, request: dict[str, Any]) -> None:
    """Set when it fires; the next run stays where it is if nothing of that changes."""
    names = ("schedule", "timezone", "end_time", "enabled")
    if not cron._state.adding and all(getattr(cron, n) == request[n] for n in names):
        return
    for name in names:
        setattr(cron, name, request[name])
    cron.next_run_date = None
    if not cron.enabled:
        return
    cron.disabled_reason = ""
    cron.next_run_date = next_run(cron, after=database_now())
    if cron.next_run_date is None:
        raise Unprocessable("end_time: the schedule has no slot before it")


def _changed_payload(cron: Cron, changes: dict[str, Any]) -> dict[str, Any]:
    return {**cron.payload, **_schedule_json(cron), **changes}


def _schedule_json(cron: Cron) -> dict[str, Any]:
    """The schedule as a request names it: Spool and the admin change it too."""
    return {
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "end_time": cron.end_time.isoformat() if cron.end_time else None,
        "enabled": cron.enabled,
        "catch_up": CatchUpField().to_representation(cron.catch_up),
    }


def _rehearse(cron: Cron, name_or_id: str) -> None:
    """Make a run as the tick will, and take it back.

    So that what would fail at each slot is refused now: a thread or an assistant that
    the creator can't see, a webhook that may not be called, a contradiction.
    """
    if url := cron.payload.get("webhook"):
        addresses.check(url)
        addresses.check_hosts([url])
    creator = Creator.from_json(cron.creator)
    cron.assistant_id = _rehearse_as(creator, cron, assistant_id=name_or_id)


def _rehearse_as(maker: Creator, cron: Cron, **instead: str) -> UUID:
    """The assistant of the run that was made and taken back."""
    instead["multitask_strategy"] = "enqueue"
    with transaction.atomic():
        # As nobody: who has as many runs as they may can still have another cron.
        run = make_run(cron, creator=maker.as_nobody(), **instead)
        transaction.set_rollback(True)
    return run.assistant_id


def _keep_payload(cron: Cron, request: dict[str, Any], payload: dict[str, Any]) -> None:
    deletes = request["on_run_completed"] == Cron.OnRunCompleted.DELETE
    if cron.thread_id is not None and deletes:
        raise Unprocessable("on_run_completed: the thread of this cron stays")
    config = request["config"]
    configurable = {**(config.get("configurable") or {}), "cron_id": str(cron.id)}
    cron.payload = {
        **payload,
        "config": {**config, "configurable": configurable},
        "metadata": cron.metadata,
    }
    if cron.thread_id is None:
        default = Cron.OnRunCompleted.DELETE
        cron.on_run_completed = request["on_run_completed"] or default


def delete_owned_by(owner: str) -> int:
    """Delete all crons of an owner, with their firings. How many there were."""
    return Cron.objects.filter(owner=owner).delete()[1].get(Cron._meta.label, 0)
