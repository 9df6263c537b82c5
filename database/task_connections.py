"""Postgres connections that Celery's tasks share: one for each concurrent task.

Celery runs a task on any free thread, and Django has a connection for each thread.
Without sharing, a worker would hold a connection for every run that it may execute,
although ticks and sweeps need only one or two.
"""

from __future__ import annotations

from contextlib import suppress

from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# Idle connections; the last one used is the first to be reused.
_idle: list[BaseDatabaseWrapper] = []


def take() -> None:
    """Give this thread an idle connection, if there is one."""
    if not connections.all(initialized_only=True):
        with suppress(IndexError):
            connections[DEFAULT_DB_ALIAS] = _idle.pop()
    close_old_connections()


def give_back() -> None:
    """Make this thread's connection available to other tasks."""
    for connection in connections.all(initialized_only=True):
        del connections[connection.alias]
        if not connection.allow_thread_sharing:
            connection.inc_thread_sharing()
        _idle.append(connection)
