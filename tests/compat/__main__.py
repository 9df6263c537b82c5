"""`python -m spool.tests.compat`: write what tests prove to docs/compatibility.md."""

from __future__ import annotations

import os

import django

from spool.tests.compat.fields import PAGE, with_table

# Only imports need settings: nothing connects to a server.
os.environ.setdefault("DATABASE_URL", "postgresql://127.0.0.1/none")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1/0")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "spool.config.settings")

django.setup()
PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
