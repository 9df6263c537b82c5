"""Postgres connections for Celery's tasks: as many as tasks use one at once.

Celery runs a task on whichever of its threads is free, and Django has a connection for
each thread. Left at that, a worker would hold one for every run that it may execute,
though its ticks and sweeps need one or two.
"""

from __future__ import annotations

from contextlib import suppress

from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# Those that no task uses now. The one that was used last is the next to be used.
_idle: list[BaseDatabaseWrapper] = []


def take() -> None:
    """Let this thread have what an earlier task has left, if there is something."""
    if not connections.all(initialized_only=True):
        with suppress(IndexError):
            connections[DEFAULT_DB_ALIAS] = _idle.pop()
    close_old_connections()


def give_back() -> None:
    """Leave this thread's connection to the next task."""
    for connection in connections.all(initialized_only=True):
        del connections[connection.alias]
        if not connection.allow_thread_sharing:
            connection.inc_thread_sharing()
        _idle.append(connection)
