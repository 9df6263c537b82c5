"""`manage.py pause`: let no more runs of an owner, a graph or a worker start."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from spool.runs import queue
from spool.runs.models import Pause


class Command(BaseCommand):
    help = (
        "Let no more runs of an owner, a graph or a worker (by its id) start. "
        "Running runs continue, pending ones stay pending."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=Pause.Kind.values)
        parser.add_argument("name")

    def handle(self, *args: Any, kind: str, name: str, **options: Any) -> None:
        is_new = queue.pause(kind, name)
        self.stdout.write(f"{kind} {name} is {'' if is_new else 'already '}paused")
