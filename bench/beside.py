"""Use a server's settings, and so its database, in this process beside the server's."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import django

from spool.tests.live import Server

NAMES = ("DATABASE_URL", "REDIS_URL", "SPOOL_HOME", "LANGGRAPH_CONFIG")


def load(server: Server, module: str) -> ModuleType:
    """Import a module that needs Django's settings, after loading those of `server`."""
    environment = server.environment()
    os.environ |= {name: environment[name] for name in NAMES}
    os.environ["DJANGO_SETTINGS_MODULE"] = "spool.config.settings"
    django.setup()
    return importlib.import_module(module)
