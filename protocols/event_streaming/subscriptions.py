"""What a client wants to receive of a thread's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator

CHANNELS = (
    *("values", "updates", "messages", "tools", "lifecycle", "input"),
    *("checkpoints", "tasks", "custom"),
)


class Filter(BaseModel):
    """Which events to send. `namespaces` are prefixes, and `depth` counts from them.

    `since` is a `seq`: only events with a greater one are sent.
    """

    model_config = ConfigDict(frozen=True)

    channels: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    namespaces: Annotated[tuple[tuple[str, ...], ...], Field(max_length=1000)] = ()
    depth: Annotated[StrictInt, Field(ge=0)] | None = None
    since: Annotated[StrictInt, Field(ge=0, lt=2**53)] = 0

    @field_validator("namespaces", "since", mode="before")
    @classmethod
    def _null_is_absent(cls, value: object, info: object) -> object:
        if value is None:
            return cls.model_fields[info.field_name].default  # type: ignore[attr-defined]
        return value

    @field_validator("channels")
    @classmethod
    def _are_known(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        for channel in channels:
            name = channel.removeprefix("custom:")
            if channel not in CHANNELS and (name == channel or not name):
                allowed = ", ".join((*CHANNELS, "custom:<name>"))
                raise ValueError(f"unknown channel {channel!r}: one of {allowed}")
        return channels

    def takes_channel(self, channel: str) -> bool:
        if channel in self.channels:
            return True
        return channel.startswith("custom:") and "custom" in self.channels

    def takes_namespace(self, namespace: Sequence[str]) -> bool:
        return any(
            _begins_with(namespace, prefix)
            and (self.depth is None or len(namespace) - len(prefix) <= self.depth)
            for prefix in self.namespaces or ((),)
        )


def _begins_with(namespace: Sequence[str], prefix: Sequence[str]) -> bool:
    """Match a prefix. A segment without a colon matches every call of that node."""
    return len(prefix) <= len(namespace) and all(
        given == wanted or (":" not in wanted and given.partition(":")[0] == wanted)
        for given, wanted in zip(namespace, prefix, strict=False)
    )
