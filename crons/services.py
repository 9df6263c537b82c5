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

# The only change that can't create more runs.
STOPS = {"enabled": False}
# Changes to only these fields don't change a run; together with the metadata, they
# don't change whether one can be created either.
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
    """Create a cron. `request` is the validated `payload`, with the policy's stamp."""
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
    """Change the fields in `changes`; the rest of the request stays.

    `stamp` is merged into the metadata, see `changed_metadata`. The runs stay the
    creator's, but an `editor` who changes them or their schedule must be allowed to
    create them. The policy was asked about the given `cron`: raises 409 if its runs
    have changed since then. The row is locked, so that a tick skips it until the
    commit, and concurrent changes are not lost.
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
    # A cron whose assistant is gone can be paused, but not enabled again.
    if changes.keys() - HARMLESS or (cron.enabled and not was_enabled):
        _rehearse(cron, request["assistant_id"])
    if editor:
        check_sees(editor, cron)
    cron.updated_at = database_now()
    cron.save()
    return cron


def changed_request(cron: Cron, changes: dict[str, Any]) -> dict[str, Any]:
    """The whole request with `changes` applied, validated."""
    # By its id: the name in the request may belong to no graph any more.
    assistant = {"assistant_id": str(cron.assistant_id)}
    data = {**_changed_payload(cron, {}), **assistant, **changes}
    return valid(CronRequest, data)


def changed_metadata(cron: Cron, stamp: dict[str, Any]) -> dict[str, Any]:
    """`stamp` merged into the metadata. The owner of a cron can't be changed."""
    merged = {**cron.metadata, **stamp}
    if "owner" in cron.metadata:
        merged["owner"] = cron.metadata["owner"]
    return merged


@transaction.atomic
def pause(*, cron: Cron, reason: str) -> None:
    """Disable a cron until it is resumed; its owner can read the reason."""
    cron = locked(cron)
    if cron.enabled:
        disable(cron, reason)
        cron.updated_at = database_now()
        cron.save()


@transaction.atomic
def resume(*, cron: Cron) -> None:
    """Enable a cron from now on. Raises an error if its thread is gone, for example."""
    cron = locked(cron)
    schedule = {"schedule": cron.schedule, "timezone": cron.timezone}
    _schedule(cron, {**schedule, "end_time": cron.end_time, "enabled": True})
    _rehearse(cron, str(cron.assistant_id))
    cron.updated_at = database_now()
    cron.save()


@transaction.atomic
def delete_cron(cron: Cron) -> None:
    """Delete a cron and its firings, after waiting for a tick that is firing it."""
    locked(cron).delete()


def locked(cron: Cron, *, missing: str = "Not Found") -> Cron:
    """The current cron, locked until the transaction ends."""
    fresh = Cron.objects.select_for_update().filter(pk=cron.pk).first()
    if fresh is None:
        raise NotFound(missing)
    return fresh


def check_makes_the_same(asked: Cron, now: Cron) -> None:
    """Raise `ChangedMeanwhile` if a cron's runs are not those the policy allowed.

    Two concurrent changes may each be allowed, but not their combination. The row is
    not locked while a handler runs, since handlers may be slow.
    """
    if _what_it_makes(asked) != _what_it_makes(now):
        raise ChangedMeanwhile


def _what_it_makes(cron: Cron) -> tuple[UUID, dict[str, Any]]:
    payload = {key: cron.payload[key] for key in cron.payload.keys() - TIMING}
    return cron.assistant_id, payload


def make_run(cron: Cron, *, creator: Creator | None = None, **instead: str) -> Run:
    """Create a run of the cron on behalf of its creator.

    `instead` overrides fields of the request that the cron stores.
    """
    creator = creator or Creator.from_json(cron.creator)
    return create_run(
        scope=creator.threads,
        assistants=creator.assistants,
        thread_id=cron.thread_id,
        run_class=Run.RunClass.CRON,
        # `headers` are merged into `configurable`. The request's own can't be used: it
        # may not have one beside `context`, and no graph's schema has this key.
        request={
            **run_request(cron, **instead),
            "headers": {**creator.configurable, "cron_id": str(cron.id)},
        },
    )


def check_sees(asker: Creator, cron: Cron) -> None:
    """Check that `asker` could create the run that the cron creates for its creator.

    Raises an error if they can't see its thread or its assistant, for example.
    """
    if asker.as_nobody() != Creator.from_json(cron.creator).as_nobody():
        _rehearse_as(asker, cron)


def run_request(cron: Cron, **instead: str) -> dict[str, Any]:
    """The stored request for a run, validated, without Spool's additions."""
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
    """Disable a cron with a reason. For the tick, which holds the row's lock."""
    cron.enabled = False
    cron.next_run_date = None
    cron.disabled_reason = reason


def next_run(cron: Cron, *, after: datetime) -> datetime | None:
    """The cron's first slot later than `after`; None if it is after `end_time`."""
    slot = next_slot(cron.schedule, cron.timezone, after=after)
    if slot is None or (cron.end_time and slot > cron.end_time):
        return None
    return slot


def database_now() -> datetime:
    """The database's time, which is the same for all machines."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def _schedule(cron: Cron, request: dict[str, Any]) -> None:
    """Set the schedule; the next run is kept if the schedule does not change."""
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
    """The schedule as in a request; Spool and the admin change it too."""
    return {
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "end_time": cron.end_time.isoformat() if cron.end_time else None,
        "enabled": cron.enabled,
        "catch_up": CatchUpField().to_representation(cron.catch_up),
    }


def _rehearse(cron: Cron, name_or_id: str) -> None:
    """Create a run as the tick will, and roll it back.

    This refuses now what would fail at each slot: a thread or an assistant that the
    creator can't see, a webhook that is not allowed, contradictory fields.
    """
    if url := cron.payload.get("webhook"):
        addresses.check(url)
        addresses.check_hosts([url])
    creator = Creator.from_json(cron.creator)
    cron.assistant_id = _rehearse_as(creator, cron, assistant_id=name_or_id)


def _rehearse_as(maker: Creator, cron: Cron, **instead: str) -> UUID:
    """The assistant of the run that was created and rolled back."""
    instead["multitask_strategy"] = "enqueue"
    with transaction.atomic():
        # Without the user: the limit of runs per owner does not apply to new crons.
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
    """Delete all crons of an owner, with their firings. Returns their number."""
    return Cron.objects.filter(owner=owner).delete()[1].get(Cron._meta.label, 0)
