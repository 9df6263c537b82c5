"""Registers every page of the console: Django's autodiscovery finds this module."""

from django.contrib import admin

from spool.console import (
    access,
    assistants,
    beat,
    crons,
    log,
    people,
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
    "log",
    "people",
    "runs",
    "store",
    "threads",
    "webhooks",
    "workers",
]

admin.site.index_template = "console/overview.html"
admin.site.index_title = "Overview"
# There is no other site to link to.
admin.site.site_url = None
