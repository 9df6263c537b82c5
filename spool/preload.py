"""The modules that web, worker and beat share, for the process that forks them.

None of them may start a thread or open a connection, since neither survives a fork. The
user's graphs and routes are not imported: their import may do so.
"""

from importlib import import_module

import django
from django.conf import settings
from django.utils.module_loading import import_string

from spool.config.env import choose_settings
from spool.telemetry import traces

choose_settings()
django.setup()

# Sets the variables of `env`, some of which the modules below read.
import_module("spool.config.langgraph_json").langgraph_json()

for _name in (
    "spool.config.urls",
    "spool.crons.tasks",
    "spool.programs.beat",
    "spool.programs.web",
    "spool.programs.worker",
    "spool.runs.tasks",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "django_celery_beat.schedulers",
    "kombu.transport.redis",
    "langgraph.func",
    "langgraph.graph",
    "langgraph.pregel.remote",
    "uvicorn.main",
    "uvicorn.protocols.websockets.auto",
    "uvloop",
):
    import_module(_name)

traces.preload()

for _name in settings.MIDDLEWARE:
    import_string(_name)
