"""`manage.py check`: Django's own checks, and those of Spool's servers and graphs.

Other commands run only Django's checks, so that a key can be created while Redis is
unavailable.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import register
from django.core.management.commands.check import Command as DjangoCheck

from spool.access.start import find_mistakes
from spool.checks import check_broker, check_database, check_graphs
from spool.web.mounting import check_routes

CHECKS = (find_mistakes, check_database, check_broker, check_graphs, check_routes)


def register_outside() -> None:
    for check in CHECKS:
        register(check)


class Command(DjangoCheck):
    def handle(self, *app_labels: Any, **options: Any) -> None:
        register_outside()
        super().handle(*app_labels, **options)
