"""The libraries that web, worker and beat share.

None of them reads Django's settings, starts a thread or opens a connection when it is
imported. Some read the environment.
"""

LIBRARIES = (
    "celery.app.control",
    "celery.app.log",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.backends.base",
    "celery.bin.celery",
    "celery.concurrency.thread",
    "celery.contrib.django.task",
    "celery.events.receiver",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "kombu.transport.redis",
    # Most graphs import it.
    "langchain_core.language_models.chat_models",
    "langgraph.func",
    "langgraph.graph",
    "langgraph.pregel.remote",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.main",
    "uvicorn.protocols.websockets.auto",
    "uvloop",
)
