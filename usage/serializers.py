"""The wire's names and shapes for usage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from spool.usage.report import GROUPS
from spool.web.fields import UUIDText

MAX_DAYS = 400
DEFAULT_DAYS = 30


class UsageQuery(serializers.Serializer[Any]):
    """Days are in UTC. The first and the last one are included."""

    group_by = serializers.CharField(
        default="model", allow_blank=True, help_text=f"Of {', '.join(GROUPS)}"
    )
    start = serializers.DateField(default=None)
    end = serializers.DateField(default=None)
    assistant_id = UUIDText(default=None)
    graph_id = serializers.CharField(default=None)
    node = serializers.CharField(default=None)
    model = serializers.CharField(default=None)
    owner = serializers.CharField(default=None)
    format = serializers.ChoiceField(choices=["json", "csv"], default="json")

    def validate_group_by(self, given: str) -> list[str]:
        names = [name.strip() for name in given.split(",") if name.strip()]
        if unknown := [name for name in names if name not in GROUPS]:
            raise serializers.ValidationError(f"unknown group {unknown[0]}")
        return list(dict.fromkeys(names))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        end = attrs["end"] or timezone.now().date()
        start = attrs["start"] or end - timedelta(days=DEFAULT_DAYS - 1)
        if start > end:
            raise serializers.ValidationError("start: must not be after end")
        if (end - start).days > MAX_DAYS:
            raise serializers.ValidationError(
                f"start: must be at most {MAX_DAYS} days before end"
            )
        return {**attrs, "start": start, "end": end}


class UsageRow(serializers.Serializer[Any]):
    calls = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField(help_text="Of the input")
    cache_written_tokens = serializers.IntegerField(help_text="Of the input")
    reasoning_tokens = serializers.IntegerField(help_text="Of the output")
    cost = serializers.CharField(help_text="A decimal number")
    unpriced_models = serializers.ListField(
        child=serializers.CharField(),
        help_text="Models that are not included in `cost`",
    )
    # Null if runs can't be grouped in this way: by node, model, provider or API key.
    successful_runs = serializers.IntegerField(allow_null=True)
    failed_runs = serializers.IntegerField(allow_null=True)
    timed_out_runs = serializers.IntegerField(allow_null=True)
    interrupted_runs = serializers.IntegerField(allow_null=True)
    rolled_back_runs = serializers.IntegerField(allow_null=True)
    run_seconds = serializers.FloatField(
        allow_null=True, help_text="From the starts of these runs to their ends"
    )


class UsageGroupBody(UsageRow):
    """A `UsageRow`, with the groups that `group_by` names."""

    owner = serializers.CharField(required=False)
    api_key = serializers.UUIDField(required=False, allow_null=True)
    assistant = serializers.UUIDField(required=False, allow_null=True)
    graph = serializers.CharField(required=False)
    revision = serializers.CharField(required=False)
    node = serializers.CharField(required=False)
    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    day = serializers.DateField(required=False)


class PricesBody(serializers.Serializer[Any]):
    source = serializers.CharField()  # type: ignore[assignment]
    date = serializers.CharField(allow_null=True)


@extend_schema_serializer(many=False)
class UsageBody(serializers.Serializer[Any]):
    start = serializers.DateField()
    end = serializers.DateField()
    currency = serializers.CharField()
    prices = PricesBody()
    usage = UsageGroupBody(many=True)
    total = UsageRow()
