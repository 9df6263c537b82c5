from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from rest_framework import serializers

from spool.web.answers import Combined

import_module("spool.config.urls")


def kinds_below(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from kinds_below(below)


OURS: list[type[Any]] = [
    kind
    for kind in kinds_below(serializers.Serializer)
    if not kind.__module__.startswith(("rest_framework", "drf_spectacular"))
    # It describes a response, and has no fields.
    and not issubclass(kind, Combined)
]


def test_no_request_gets_what_another_may_have_changed() -> None:
    """One serializer is used for all requests, so each needs its own defaults."""
    shared = [
        (kind.__name__, name)
        for kind in OURS
        for name, field in kind().fields.items()
        if isinstance(field.default, (dict, list, set))
    ]

    assert len(OURS) > 20
    assert shared == []
