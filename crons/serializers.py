"""Serializers for crons: names and shapes on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from spool.crons.cron_request import CronRequest, Timing
from spool.crons.models import Cron, CronFiring
from spool.crons.schedule import BadSchedule, BadTimezone, check_schedule, zone
from spool.database.json import moment
from spool.runs.models import Run
from spool.runs.serializers import RunRequestSerializer, run_request_of
from spool.web.answers import selectable
from spool.web.bodies import valid
from spool.web.fields import Capped, Object, Text, UUIDText


def cron_json(cron: Cron) -> dict[str, Any]:
    return {
        "cron_id": cron.id,
        "assistant_id": cron.assistant_id,
        "thread_id": cron.thread_id,
        "user_id": cron.user_id,
        "end_time": moment(cron.end_time),
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "payload": cron.payload,
        "next_run_date": slot_text(cron.next_run_date),
        "metadata": cron.metadata,
        "on_run_completed": cron.on_run_completed,
        "enabled": cron.enabled,
        "catch_up": CatchUpField().to_representation(cron.catch_up),
        "disabled_reason": cron.disabled_reason or None,
        "created_at": moment(cron.created_at),
        "updated_at": moment(cron.updated_at),
    }


def firing_json(firing: CronFiring) -> dict[str, Any]:
    return {
        "slot": slot_text(firing.slot),
        "fired_at": moment(firing.fired_at),
        "lateness": firing.lateness,
        "missed": firing.missed,
        "run_id": firing.run_id,
        "thread_id": firing.thread_id,
        "status": firing.status or None,
        "error": firing.error or None,
    }


def slot_text(slot: datetime | None) -> str | None:
    """A slot for the wire: slots are whole seconds, shown without a fraction."""
    return slot.astimezone(UTC).isoformat(timespec="seconds") if slot else None


class ScheduleField(Text):
    def to_internal_value(self, data: Any) -> str:
        schedule = super().to_internal_value(data)
        try:
            check_schedule(schedule)
        except BadSchedule as exc:
            raise serializers.ValidationError(str(exc)) from None
        return schedule


class TimezoneField(Text):
    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        try:
            zone(name)
        except BadTimezone as exc:
            raise serializers.ValidationError(str(exc)) from None
        return name


class EndTime(serializers.DateTimeField):
    """A time. Without an offset, it is in the cron's time zone; see the serializer."""

    def enforce_timezone(self, value: datetime) -> datetime:
        return value


ONCE, SKIP = "once", "skip"
MAX_CATCH_UP = 1000


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "enum": [ONCE, SKIP]},
            {"type": "integer", "minimum": 1, "maximum": MAX_CATCH_UP},
        ]
    }
)
class CatchUpField(serializers.Field[Any, Any, Any, Any]):
    """How missed slots are handled: `once`, `skip`, or the maximum of them to fire."""

    def to_internal_value(self, data: Any) -> str:
        if data in (ONCE, SKIP):
            return str(data)
        is_whole = isinstance(data, int) and not isinstance(data, bool)
        if not is_whole or not 1 <= data <= MAX_CATCH_UP:
            raise serializers.ValidationError(
                f"must be {ONCE}, {SKIP}, or a number from 1 to {MAX_CATCH_UP}"
            )
        return str(data)

    def to_representation(self, value: str) -> str | int:
        return int(value) if value.isdecimal() else value


class CronRequestSerializer(RunRequestSerializer):
    """The body that creates a cron: when it fires, and the body of its runs."""

    schedule = ScheduleField()
    timezone = TimezoneField(required=False, allow_null=True, default=None)
    end_time = EndTime(required=False, allow_null=True, default=None)
    enabled = serializers.BooleanField(required=False, allow_null=True, default=True)
    catch_up = CatchUpField(required=False, allow_null=True, default=ONCE)
    on_run_completed = serializers.ChoiceField(
        choices=Cron.OnRunCompleted.choices,
        required=False,
        allow_null=True,
        default=None,
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("on_completion") not in (None, "delete"):
            raise serializers.ValidationError(
                {"on_completion": "use on_run_completed for a cron"}
            )
        if attrs.get("on_disconnect") not in (None, "continue"):
            raise serializers.ValidationError(
                {"on_disconnect": "the runs of a cron have no client"}
            )
        end_time = attrs.get("end_time")
        if end_time is not None and end_time.tzinfo is None:
            attrs["end_time"] = end_time.replace(tzinfo=zone(attrs.get("timezone")))
        return super().validate(attrs)


def parse_cron_request(body: Any) -> CronRequest:
    """Validate the body of a request for a cron. Raises 422, naming each bad field."""
    validated = valid(CronRequestSerializer, body)
    return CronRequest(
        timing=Timing(
            schedule=validated["schedule"],
            timezone=validated["timezone"],
            end_time=validated["end_time"],
            enabled=validated["enabled"],
        ),
        run=run_request_of(validated),
        catch_up=validated["catch_up"],
        on_run_completed=validated["on_run_completed"],
    )


class CronPatch(CronRequestSerializer):
    """Any subset of the body; only documents the API, see `services.update_cron`."""

    assistant_id = Text(required=False)
    schedule = ScheduleField(required=False)


class CronBody(serializers.Serializer[Any]):
    """A cron as the wire shows it; `cron_json` makes it."""

    cron_id = serializers.UUIDField()
    assistant_id = serializers.UUIDField()
    thread_id = serializers.UUIDField(allow_null=True)
    user_id = serializers.CharField(allow_null=True)
    end_time = serializers.DateTimeField(allow_null=True)
    schedule = serializers.CharField()
    timezone = serializers.CharField(allow_null=True)
    payload = Object()
    next_run_date = serializers.DateTimeField(allow_null=True)
    metadata = Object()
    on_run_completed = serializers.ChoiceField(
        choices=Cron.OnRunCompleted.choices, allow_null=True
    )
    enabled = serializers.BooleanField()
    catch_up = CatchUpField()
    disabled_reason = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


FOUND = selectable(CronBody)


class FiringBody(serializers.Serializer[Any]):
    """A firing as the wire shows it; `firing_json` makes it."""

    slot = serializers.DateTimeField(allow_null=True)
    fired_at = serializers.DateTimeField()
    lateness = serializers.FloatField(allow_null=True)
    missed = serializers.IntegerField()
    run_id = serializers.UUIDField(allow_null=True)
    thread_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=Run.Status.choices, allow_null=True)
    error = serializers.CharField(allow_null=True)


SORTABLE = (
    "cron_id",
    "assistant_id",
    "thread_id",
    "next_run_date",
    "end_time",
    "created_at",
    "updated_at",
)


class CronFilter(serializers.Serializer[Any]):
    assistant_id = UUIDText(required=False, allow_null=True, default=None)
    thread_id = UUIDText(required=False, allow_null=True, default=None)
    metadata = Object(required=False, allow_null=True, default=dict)
    enabled = serializers.BooleanField(required=False, allow_null=True, default=None)


class CronSearch(CronFilter):
    limit = serializers.IntegerField(default=10, min_value=1, max_value=1000)
    offset = serializers.IntegerField(default=0, min_value=0, max_value=2**31)
    sort_by = serializers.ChoiceField(choices=SORTABLE, default="created_at")
    sort_order = serializers.ChoiceField(choices=["asc", "desc"], default="desc")
    select = serializers.ListField(
        child=serializers.ChoiceField(choices=tuple(CronBody().fields)),
        required=False,
        allow_null=True,
        default=None,
    )


class PageQuery(serializers.Serializer[Any]):
    limit = Capped(default=10, min_value=1)
    offset = serializers.IntegerField(default=0, min_value=0, max_value=2**31)


class PreviewRequest(serializers.Serializer[Any]):
    schedule = ScheduleField()
    timezone = TimezoneField(required=False, allow_null=True, default=None)


class PreviewBody(serializers.Serializer[Any]):
    schedule = serializers.CharField()
    timezone = serializers.CharField(allow_null=True)
    description = serializers.CharField()
    next_run_dates = serializers.ListField(child=serializers.DateTimeField())
