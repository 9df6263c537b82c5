"""The modules that web, worker and beat share, for the process that forks them.

No module here may start a thread or open a connection, since neither survives a fork.
The user's graphs and routes are not imported, since importing them might do so.
"""

import sys
from importlib import import_module
from types import ModuleType

import django
from django.conf import settings
from django.utils.module_loading import import_string

from spool.config.env import choose_settings
from spool.libraries import LIBRARIES
from spool.telemetry import traces

choose_settings()

# Leave out parts of libraries that are not used, but take 12 MB: the metrics of
# redis-py, the command line of httpx, and the shell of `celery amqp`.
_no_shell = ModuleType("click_repl")
vars(_no_shell)["register_repl"] = lambda group: None
for _name, _left_out, _instead in (
    ("redis", "opentelemetry", None),
    ("httpx", "pygments", None),
    ("celery.bin.amqp", "click_repl", _no_shell),
):
    if _left_out not in sys.modules:
        sys.modules[_left_out] = _instead  # type: ignore[assignment]
        import_module(_name)
        del sys.modules[_left_out]

django.setup()

# Sets the variables of `env`, some of which the modules below read.
import_module("spool.config.langgraph_json").langgraph_json()

for _name in (
    "spool.beat_scheduler",
    "spool.config.urls",
    "spool.crons.tasks",
    "spool.programs.beat",
    "spool.programs.web",
    "spool.programs.worker",
    "spool.runs.tasks",
    "spool.store.tasks",
    "spool.threads.tasks",
    "django_celery_beat.schedulers",
    *LIBRARIES,
):
    import_module(_name)

traces.preload()

for _name in settings.MIDDLEWARE:
    import_string(_name)
