"""`manage.py prepare`: prepares the database and checks the configuration."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from spool.access.start import check_access, find_mistakes
from spool.assistants.services import register_system_assistants
from spool.checks import check_broker, check_database
from spool.config.env import stop
from spool.config.langgraph_json import warn_of_ignored_keys
from spool.console.groups import prepare_groups
from spool.database.loop import conninfo
from spool.management.commands.check import register_outside
from spool.periodic import ensure_periodic_tasks
from spool.store.vectors import prepare_index
from spool.webhooks import addresses

logger = logging.getLogger(__name__)

ADMIN = "admin"
# An arbitrary number that is used for no other advisory lock.
LOCK = 7_310_579_630
WAIT_SECS = 0.2
# How long to wait for another `prepare`, which may be indexing a big table.
TIMEOUT_SECS = 600.0


class Command(BaseCommand):
    help = "Migrate, check, register the graphs, and create an admin if there is none."
    # `handle` runs checks in an order in which the first error is the cause.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--without-graphs",
            action="store_true",
            help="don't import the project's code: web processes do so when they start",
        )

    def handle(self, *args: Any, without_graphs: bool, **options: Any) -> None:
        # Check before creating the admin, whose password a failed start would lose.
        _stop_at(find_mistakes())
        if not without_graphs:
            check_access()
            warn_of_ignored_keys()
        addresses.check_settings()
        _stop_at([*check_database(), *check_broker()])
        with _one_at_a_time():
            _migrate()
            if not without_graphs:
                prepare_index()
                register_outside()
            _stop_at(run_checks())
            if not without_graphs:
                register_system_assistants()
            ensure_periodic_tasks()
            prepare_groups()
            password = _first_admin()
        if password:
            # In the last line. The password is not shown again.
            self.stdout.write(f"admin password: {password}")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for another `prepare` of the same database. Django's migrations don't wait.

    The lock is polled outside of a transaction: a statement that waits for it, or an
    open transaction, would block a CREATE INDEX CONCURRENTLY of the other `prepare`.
    """
    with psycopg.connect(conninfo(), autocommit=True, prepare_threshold=None) as conn:
        deadline = time.monotonic() + TIMEOUT_SECS
        while not _is_first(conn):
            if time.monotonic() > deadline:
                # A connection pooler may still hold the lock of a client that is gone.
                logger.warning(
                    "another `prepare` takes too long: continuing without waiting for it"
                )
                break
            time.sleep(WAIT_SECS)
        try:
            yield
        finally:
            conn.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _is_first(conn: psycopg.Connection[Any]) -> bool:
    row = conn.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
    return bool(row and row[0])


def _migrate() -> None:
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except DatabaseError as exc:
        stop(f"cannot migrate the database (DATABASE_URL): {exc}")


def _stop_at(messages: Iterable[CheckMessage]) -> None:
    """Stop the process at the first serious message, with one line."""
    for message in messages:
        if message.is_serious():
            stop(message.msg)


def _first_admin() -> str | None:
    """Create a superuser. Returns its password; None if a superuser exists already."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(username=ADMIN, password=password)
    return password
