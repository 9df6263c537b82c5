"""`manage.py resume`: start runs of an owner, graph, assistant or worker again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from spool.runs import queue
from spool.runs.models import Pause


class Command(BaseCommand):
    help = (
        "Let runs of an owner, a graph, an assistant or a worker (these two by their ids) "
        "start again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=Pause.Kind.values)
        parser.add_argument("name")

    def handle(self, *args: Any, kind: str, name: str, **options: Any) -> None:
        try:
            was_paused = queue.resume(kind, name)
        except ValueError:
            raise CommandError(f"{kind} {name}: name it by its id, a UUID") from None
        if not was_paused:
            raise CommandError(f"{kind} {name} is not paused")
        self.stdout.write(f"{kind} {name} is resumed")
