"""This process beside a server's own: with its settings, and so with its database."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import django

from spool.tests.live import Server

NAMES = ("DATABASE_URL", "REDIS_URL", "SPOOL_HOME", "LANGGRAPH_CONFIG")


def load(server: Server, module: str) -> ModuleType:
    """A module that needs Django's settings, once they are the server's."""
    environment = server.environment()
    os.environ |= {name: environment[name] for name in NAMES}
    os.environ["DJANGO_SETTINGS_MODULE"] = "spool.config.settings"
    django.setup()
    return importlib.import_module(module)
