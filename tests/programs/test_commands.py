"""The ways to start our commands: the current ones, and earlier ones."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig

import psycopg
import pytest

from spool.tests.live import ROOT

CELERY = [sys.executable, "-m", "celery"]
UVICORN = [sys.executable, "-m", "uvicorn"]
DJANGO = [sys.executable, "-m", "django"]
OLD = {"DJANGO_SETTINGS_MODULE": "config.settings"}
THEIRS = {"DJANGO_SETTINGS_MODULE": "site.settings"}


def execute(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "environment", "advice"),
    [
        ([*CELERY, "-A", "config", "worker"], {}, "`spool worker`"),
        ([*CELERY, "-A", "config", "beat"], {}, "`spool beat`"),
        ([*UVICORN, "config.asgi:application"], {}, "`spool web`"),
        ([*DJANGO, "check"], OLD, "`spool manage`"),
        ([sys.executable, "manage.py", "check"], OLD, "`spool manage …`"),
        ([sys.executable, "-m", "spool", "web"], OLD, "`spool manage …`"),
        ([*CELERY, "-A", "spool.config", "worker"], {}, "`spool worker`"),
    ],
)
def test_a_command_of_an_older_version_names_the_new_one(
    command: list[str], environment: dict[str, str], advice: str
) -> None:
    stopped = execute(command, **environment)

    (line,) = (stopped.stdout + stopped.stderr).splitlines()
    assert stopped.returncode == 1
    assert line.startswith("spool: ")
    assert advice in line


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "manage.py", "diffsettings"],
        [sys.executable, "-m", "spool", "manage", "diffsettings"],
        [*CELERY, "-A", "spool.config", "report"],
    ],
)
def test_the_settings_of_a_django_site_are_left_alone(command: list[str]) -> None:
    shown = execute(command, **THEIRS)

    assert shown.returncode == 0, shown.stderr
    assert "spool.config.urls" in shown.stdout


@pytest.mark.parametrize(
    "command", [["manage.py", "migrate"], ["-m", "spool", "manage", "migrate"]]
)
def test_a_checkout_needs_no_more_than_its_requirements(
    empty: str, command: list[str]
) -> None:
    # Without `site`, Python doesn't see the editable install of the environment.
    migrated = execute(
        [sys.executable, "-S", "-W", "ignore", *command],
        DATABASE_URL=empty,
        PYTHONPATH=sysconfig.get_path("purelib"),
    )

    assert migrated.returncode == 0, migrated.stderr
    with psycopg.connect(empty) as conn:
        assert conn.execute("SELECT count(*) FROM runs").fetchone() == (0,)
