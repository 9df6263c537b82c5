"""`manage.py reindex_store`: index items that are older than `store.index`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from spool.store.index import index_config
from spool.store.reindex import drop_tables, reindex
from spool.store.vectors import prepare_index

WIDTH = 30


class Command(BaseCommand):
    help = "Rebuild the vectors of all store items according to `store.index`."

    def handle(self, *args: Any, **options: Any) -> None:
        index = index_config()
        if index is None:
            dropped = drop_tables(kept=None)
            self.stdout.write(
                f"langgraph.json has no store.index; {len(dropped)} tables dropped"
            )
            return
        prepare_index(warn=False)
        count = reindex(index, report=self._report)
        self.stdout.write(f"{count} items indexed with {index.embed}")

    def _report(self, done: int, total: int) -> None:
        """Rewrite one line on a terminal; in a log, print only the last one."""
        if not self.stdout.isatty() and done < total:
            return
        filled = WIDTH * done // total if total else WIDTH
        bar = "#" * filled + "." * (WIDTH - filled)
        end = "\n" if done == total else "\r"
        self.stdout.write(f"[{bar}] {done} of {total} items", ending=end)
