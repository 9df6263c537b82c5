"""A real Postgres and a real Valkey for the tests, unless the environment names some.

It is loaded with `-p`, so that both run before pytest-django reads the settings.

pytest names a module after the folders with an `__init__.py` around it, which would
give `runs.tests.…` here. Our modules must have only one name, `spool.runs.tests.…`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _pytest import pathlib
from _pytest.nodeid import NodeId

from spool.embedded import processes
from spool.embedded.home import Home
from spool.embedded.postgres import Postgres
from spool.embedded.supervisor import DATABASE_VARIABLES, REDIS_VARIABLES, given
from spool.embedded.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent

# The variables that name servers which the tests have started.
OURS = "SPOOL_TEST_SERVERS"

_running: list[tuple[Postgres | Valkey, subprocess.Popen[bytes]]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    os.environ.setdefault("LANGGRAPH_CONFIG", str(ROOT / "examples" / "langgraph.json"))
    # Each process of `-n` has its own servers: tests empty them, pause them, and wait
    # until any statement in Postgres waits for a lock.
    is_one_of_several = "PYTEST_XDIST_WORKER" in os.environ
    if is_one_of_several:
        for variable in os.environ.pop(OURS, "").split():
            del os.environ[variable]
    home_path = ROOT / ".spool" / "test" / os.environ.get("PYTEST_XDIST_WORKER", "")
    started = _start_servers(home_path)
    if is_one_of_several:
        os.environ["SPOOL_HOME"] = str(home_path)
    else:
        os.environ.setdefault("SPOOL_HOME", str(home_path))
        os.environ[OURS] = " ".join(started)


def _start_servers(home_path: Path) -> list[str]:
    """Start the servers that the environment does not name.

    Return the names of the variables that now name them.
    """
    variables = {"DATABASE_URL": DATABASE_VARIABLES, "REDIS_URL": REDIS_VARIABLES}
    missing = [name for name, known in variables.items() if not given(known)]
    if missing:
        home = Home(home_path)
        home.clear_leftovers()
        if "DATABASE_URL" in missing:
            postgres = Postgres(home.path, durable=False)
            os.environ["DATABASE_URL"] = _start(home, postgres)
        if "REDIS_URL" in missing:
            os.environ["REDIS_URL"] = _start(home, Valkey(home.path, durable=False))
    return missing


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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing, or fail it if all must be installed."""
    for mark in item.iter_markers("needs"):
        if missing := [name for name in mark.args if not shutil.which(name)]:
            give_up = pytest.fail if os.environ.get("REQUIRE_ALL") else pytest.skip
            give_up(f"not installed: {', '.join(missing)}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the test of each operation of a schema a different id.

    Schemathesis only puts the operation into the name, and `-n` runs one test per id.
    """
    if item.parent and not item.nodeid.endswith(item.name):
        item._id = NodeId.parse(f"{item.parent.nodeid}::{item.name}")


def _with_our_name(
    resolve: Callable[..., tuple[Path, str]],
) -> Callable[..., tuple[Path, str]]:
    def resolve_with_our_name(path: Path, **kwargs: Any) -> tuple[Path, str]:
        folder, name = resolve(path, **kwargs)
        if folder == ROOT and not name.startswith("spool."):
            name = f"spool.{name}"
        return folder, name

    return resolve_with_our_name


pathlib.resolve_pkg_root_and_module_name = _with_our_name(
    pathlib.resolve_pkg_root_and_module_name
)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if wrong := sorted(_wrongly_named()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        sys.stderr.write(f"\nERROR: modules loaded under other names: {wrong}\n")


def _wrongly_named() -> set[str]:
    """The names of our loaded modules that are not below `spool`."""
    return {
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in OUR_FOLDERS
        and Path(getattr(module, "__file__", None) or "/").is_relative_to(ROOT)
    }


OUR_FOLDERS = {
    folder.name
    for folder in ROOT.iterdir()
    if (folder / "__init__.py").exists() and folder.name != "spool"
}
