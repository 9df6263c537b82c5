"""Use cases that write crons, other than firing them (see `crons.firing`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from spool.crons.creator import TRACE_CONTEXT, Creator
from spool.crons.cron_request import (
    TIMING,
    AllowedCron,
    CronChanges,
    CronRequest,
    Timing,
)
from spool.crons.models import Cron
from spool.crons.schedule import next_slot
from spool.crons.serializers import CatchUpField, parse_cron_request
from spool.runs.models import Run
from spool.runs.run_request import SEEN_BY_NODES, AllowedRun, RunRequest
from spool.runs.serializers import parse_run_request
from spool.runs.services import create_run
from spool.telemetry import traces
from spool.web.errors import Conflict, NotFound, Unprocessable
from spool.web.limits import check_merged_metadata
from spool.webhooks import addresses


def create_cron(new: AllowedCron) -> Cron:
    """Create a cron. Raises what creating one of its runs would raise."""
    cron = Cron(
        id=new.id,
        thread_id=new.thread_id,
        metadata=new.request.run.metadata,
        creator=_creator_json(new.creator),
        user_id=new.creator.threads.identity,
    )
    _schedule(cron, new.request.timing)
    cron.catch_up = new.request.catch_up
    _keep_payload(cron, new.request, new.payload)
    _rehearse(cron, new.request.run.assistant_id)
    cron.save(force_insert=True)
    cron.refresh_from_db()
    return cron


def _creator_json(creator: Creator) -> dict[str, Any]:
    trace_context = traces.carrier()
    traced = {} if trace_context is None else {TRACE_CONTEXT: dict(trace_context)}
    return {**creator.as_json(), **traced}


class ChangedMeanwhile(Conflict):
    default_detail = "The cron was changed by another request: read it again, and retry"


@transaction.atomic
def update_cron(
    cron: Cron, changes: CronChanges, *, editor: Creator | None = None
) -> Cron:
    """Change the given fields; the rest of the request stays.

    The runs still belong to the creator, but an `editor` who changes them or their
    schedule must be allowed to create them. The policy has allowed the change of the
    given `cron`: raises 409 if its runs have changed since then. The row is locked, so
    that a tick skips it until the commit, and concurrent changes are not lost.
    """
    known = cron
    cron = locked(cron, missing=f"Cron '{cron.id}' not found")
    if editor:
        check_same_runs(known, cron)
    was_enabled = cron.enabled
    if changes.fields.get("enabled", False) is None:
        raise Unprocessable("enabled: must be true or false")
    request = changed_request(cron, changes)
    cron.metadata = changed_metadata(cron, changes.metadata)
    _schedule(cron, request.timing)
    cron.catch_up = request.catch_up
    _keep_payload(cron, request, {**_stored_fields(cron), **changes.fields})
    # A cron whose assistant is gone can be paused, but not enabled again.
    if not changes.keep_runs or (cron.enabled and not was_enabled):
        _rehearse(cron, request.run.assistant_id)
    if editor:
        check_can_create(editor, cron)
    cron.updated_at = database_now()
    cron.save()
    return cron


def changed_request(cron: Cron, changes: CronChanges) -> CronRequest:
    """The whole request with `changes` applied, validated."""
    # Use the assistant's id: the name in the request may no longer be that of a graph.
    assistant = {"assistant_id": str(cron.assistant_id)}
    return parse_cron_request({**_stored_fields(cron), **assistant, **changes.fields})


def changed_metadata(cron: Cron, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` merged into the cron's. The owner of a cron can't be changed."""
    merged = {**cron.metadata, **metadata}
    if "owner" in cron.metadata:
        merged["owner"] = cron.metadata["owner"]
    check_merged_metadata(merged, before=cron.metadata)
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
    _schedule(cron, Timing(cron.schedule, cron.timezone, cron.end_time))
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


def check_same_runs(known: Cron, now: Cron) -> None:
    """Raise `ChangedMeanwhile` if a cron's runs are not those the policy allowed.

    Two concurrent changes may each be allowed, but not their combination. The row is
    not locked while a handler runs, since handlers may be slow.
    """
    if _of_runs(known) != _of_runs(now):
        raise ChangedMeanwhile


def _of_runs(cron: Cron) -> tuple[UUID, dict[str, Any]]:
    """The values that decide which runs a cron creates."""
    payload = {key: cron.payload[key] for key in cron.payload.keys() - TIMING}
    return cron.assistant_id, payload


def make_run(
    cron: Cron, *, creator: Creator | None = None, request: RunRequest | None = None
) -> Run:
    """Create a run of the cron on behalf of its creator.

    `request` replaces the one that the cron stores.
    """
    return create_run(allowed_run(cron, creator=creator, request=request))


def allowed_run(
    cron: Cron, *, creator: Creator | None = None, request: RunRequest | None = None
) -> AllowedRun:
    """The allowed run to create for the cron; see `make_run`."""
    creator = creator or Creator.from_json(cron.creator)
    request = replace(
        request or run_request(cron),
        # It isn't in the request's config, where a `configurable` isn't allowed with a
        # `context`, and where a graph's schema doesn't have the cron's id.
        added_configurable=creator.configurable,
        cron_id=cron.id,
    )
    return AllowedRun(
        request=request,
        scope=creator.threads,
        assistants=creator.assistants,
        thread_id=cron.thread_id,
        run_class=Run.RunClass.CRON,
    )


def check_can_create(caller: Creator, cron: Cron) -> None:
    """Check that `caller` could create the run that the cron creates for its creator.

    Raises an error if they can't see its thread or its assistant, for example.
    """
    if caller.without_user() != Creator.from_json(cron.creator).without_user():
        _rehearse_as(caller, cron, str(cron.assistant_id))


def run_request(cron: Cron, assistant: str | None = None) -> RunRequest:
    """The stored request for a run, validated, without Spool's additions.

    `assistant` is the name or the id of an assistant that replaces the cron's own.
    """
    config = dict(cron.payload["config"])
    configurable = dict(config.pop("configurable"))
    del configurable["cron_id"]
    if configurable:
        config["configurable"] = configurable
    return parse_run_request(
        {
            **cron.payload,
            "config": config,
            "assistant_id": assistant or str(cron.assistant_id),
            "metadata": cron.metadata,
            "on_completion": cron.on_run_completed,
        }
    )


def disable(cron: Cron, reason: str) -> None:
    """Disable a cron with a reason. Only for the tick, which holds the row's lock."""
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
    """The time of the database, which is the same for all machines."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def _schedule(cron: Cron, timing: Timing) -> None:
    """Set the schedule; the next run is kept if the schedule does not change."""
    now = Timing(cron.schedule, cron.timezone, cron.end_time, cron.enabled)
    if not cron._state.adding and now == timing:
        return
    cron.schedule, cron.timezone = timing.schedule, timing.timezone
    cron.end_time, cron.enabled = timing.end_time, timing.enabled
    cron.next_run_date = None
    if not cron.enabled:
        return
    cron.disabled_reason = ""
    cron.next_run_date = next_run(cron, after=database_now())
    if cron.next_run_date is None:
        raise Unprocessable("end_time: the schedule has no slot before it")


def _stored_fields(cron: Cron) -> dict[str, Any]:
    """The stored request, with the row's schedule, which Spool and the admin change."""
    return {
        **cron.payload,
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
    cron.assistant_id = _rehearse_as(creator, cron, name_or_id)


def _rehearse_as(creator: Creator, cron: Cron, assistant: str) -> UUID:
    """Create a run and roll it back. Return the run's assistant."""
    request = replace(
        run_request(cron, assistant),
        multitask_strategy=Run.MultitaskStrategy.ENQUEUE,
    )
    with transaction.atomic():
        # Leave out the user: the limit of runs per owner does not apply to new crons.
        run = make_run(cron, creator=creator.without_user(), request=request)
        transaction.set_rollback(True)
    return run.assistant_id


def _keep_payload(cron: Cron, request: CronRequest, payload: Mapping[str, Any]) -> None:
    deletes = request.on_run_completed == Cron.OnRunCompleted.DELETE
    if cron.thread_id is not None and deletes:
        raise Unprocessable("on_run_completed: not allowed for a cron of a thread")
    config = request.run.config
    configurable = {**(config.get("configurable") or {}), "cron_id": str(cron.id)}
    cron.payload = {
        **payload,
        "config": {**config, "configurable": configurable},
        "metadata": cron.metadata,
    }
    cron.given = {
        name: cron.payload[name] for name in SEEN_BY_NODES if name in cron.payload
    }
    if cron.thread_id is None:
        default = Cron.OnRunCompleted.DELETE
        cron.on_run_completed = request.on_run_completed or default


def delete_owned_by(owner: str) -> int:
    """Delete all crons of an owner, with their firings. Returns their number."""
    return Cron.objects.filter(owner=owner).delete()[1].get(Cron._meta.label, 0)
