"""A real Postgres and a real Valkey for the tests, unless the environment names some.

Loaded with `-p`, so that both run before pytest-django reads the settings.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from embedded import processes
from embedded.home import Home
from embedded.postgres import Postgres
from embedded.supervisor import DATABASE_VARIABLES, REDIS_VARIABLES, ROOT, given
from embedded.valkey import Valkey

_running: list[tuple[Postgres | Valkey, subprocess.Popen[bytes]]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    database, broker = given(DATABASE_VARIABLES), given(REDIS_VARIABLES)
    os.environ.setdefault("SPOOL_HOME", str(ROOT / ".spool" / "test"))
    if database and broker:
        return
    home = Home(ROOT / ".spool" / "test")
    home.clear_leftovers()
    if not database:
        os.environ["DATABASE_URL"] = _start(home, Postgres(home.path, durable=False))
    if not broker:
        os.environ["REDIS_URL"] = _start(home, Valkey(home.path, durable=False))


def _start(home: Home, server: Postgres | Valkey) -> str:
    with home.log(server.name) as log:
        process = server.start(log)
    server.wait_ready(process)
    _running.append((server, process))
    return server.url


def pytest_unconfigure() -> None:
    while _running:
        server, process = _running.pop()
        processes.stop(process, server.stop_signal, 10)
