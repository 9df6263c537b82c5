"""What web, worker and beat all import: for the process that forks them.

Nothing of this may start a thread or open a connection; neither survives a fork. The
user's graphs are not among it: who knows what they do when they are imported.
"""

import os
from importlib import import_module

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

for _name in (
    "config.asgi",
    "config.http_protocol",
    "config.urls",
    "crons.tasks",
    "runs.tasks",
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
