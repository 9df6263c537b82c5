"""A Postgres with Spool's tables, which tests copy for each server.

It is only migrated: `spool prepare` does everything else in each copy, as at a first
start.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from spool.embedded import processes
from spool.embedded.postgres import Postgres
from spool.tests.commands import ROOT, run_program

FOLDER = ROOT / ".spool" / "test"


def copy_tables(home: Path) -> None:
    """Copy the template into an empty home. Create the template if there is none."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    template = FOLDER / f"tables-{_digest()}"
    with (FOLDER / "tables.lock").open("w") as lock:
        # Several processes of `-n` may do this at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            _make(template)
    # Keep the files' owners, since Postgres does not run as root.
    subprocess.run(["cp", "-a", str(template / "postgres"), str(home)], check=True)


def _digest() -> str:
    """A digest of everything that determines the tables."""
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes())
    for file in sorted(ROOT.glob("*/migrations/*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _make(template: Path) -> None:
    for old in FOLDER.glob("tables-*"):
        shutil.rmtree(old, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix="tables-", dir=FOLDER))
    server = Postgres(draft, durable=False)
    with (draft / "log").open("ab") as log:
        process = server.start(log)
    try:
        server.wait_ready(process)
        _migrate(server.url)
    finally:
        processes.stop(process, server.stop_signal, 60)
        # The sockets may be in another folder, if the path is long.
        shutil.rmtree(server.sockets, ignore_errors=True)
    draft.rename(template)


def _migrate(url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="spool-") as home:
        servers = {"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"}
        environment = {**os.environ, **servers, "SPOOL_HOME": home}
        command = ("manage", "migrate", "--skip-checks")
        migrated = run_program(*command, environment=environment)
    migrated.check_returncode()
