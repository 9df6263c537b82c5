from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from spool.access.keys import digest_of, revoke
from spool.access.models import ApiKey


class Command(BaseCommand):
    help = "Revoke an API key."
    # For scripts: print only the result, without warnings of system checks.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="the key, or its prefix as the admin shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        given = options["key"]
        is_it = Q(digest=digest_of(given)) | Q(prefix=given)
        found = list(ApiKey.objects.filter(is_it))
        if len(found) != 1:
            raise CommandError(f"{len(found)} keys have this prefix")
        if not revoke(found):
            raise CommandError("this key is already revoked")
