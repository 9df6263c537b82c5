"""`manage.py pause`: start no more runs of an owner, graph, assistant or worker."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from spool.runs import queue
from spool.runs.models import Pause


class Command(BaseCommand):
    help = (
        "Let no more runs of an owner, a graph, an assistant or a worker (these two by "
        "their ids) start. "
        "Running runs continue, pending ones stay pending."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=Pause.Kind.values)
        parser.add_argument("name")

    def handle(self, *args: Any, kind: str, name: str, **options: Any) -> None:
        try:
            is_new = queue.pause(kind, name)
        except ValueError:
            raise CommandError(f"{kind} {name}: name it by its id, a UUID") from None
        self.stdout.write(f"{kind} {name} is {'' if is_new else 'already '}paused")
