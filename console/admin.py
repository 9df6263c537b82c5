"""Registers every page of the console: Django's autodiscovery finds this module."""

from spool.console import (
    access,
    assistants,
    beat,
    crons,
    runs,
    store,
    threads,
    webhooks,
    workers,
)

__all__ = [
    "access",
    "assistants",
    "beat",
    "crons",
    "runs",
    "store",
    "threads",
    "webhooks",
    "workers",
]
