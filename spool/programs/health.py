"""`spool health`: a health check of one process on this machine, for containers.

Prints one line, and exits with 0 or 1. It imports little, since it is called often.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
from collections.abc import Callable
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import psycopg
from django.conf import settings

from spool.config.env import beat_file

# Timeouts for a response, and for beat's last activity, in seconds.
TIMEOUT_SECS = 5
BEAT_SECS = 30

ALIVE = """
SELECT count(*) FROM workers WHERE hostname = %s AND expired_at IS NULL
AND heartbeat_at > now() - make_interval(secs => %s)
"""


class Unwell(Exception):
    """A failed health check; the message says why."""


def main(given: argparse.Namespace) -> int:
    checks: dict[str, Callable[[argparse.Namespace], str]] = {
        "web": web,
        "worker": worker,
        "beat": beat,
    }
    try:
        print(f"{given.program}: {checks[given.program](given)}")
    except Unwell as exc:
        print(f"{given.program}: {' '.join(str(exc).split())}")
        return 1
    return 0


def web(given: argparse.Namespace) -> str:
    host = given.host or os.environ.get("HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    url = f"http://{host}:{given.port or os.environ.get('PORT') or '8123'}/ok"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT_SECS):
            pass
    except HTTPError as exc:
        # ALLOWED_HOSTS may refuse the request, but then the server is up.
        if exc.code >= 500:
            raise Unwell(f"{url} answers {exc.code}") from exc
    except (OSError, HTTPException, ValueError) as exc:
        raise Unwell(f"{url} does not answer: {exc}") from exc
    return f"{url} answers"


def worker(given: argparse.Namespace) -> str:
    host = socket.gethostname()
    conninfo = {**settings.DATABASE_CONNINFO, "connect_timeout": str(TIMEOUT_SECS)}
    try:
        with psycopg.connect(**conninfo) as conn:
            row = conn.execute(ALIVE, [host, settings.WORKER_LEASE_SECS]).fetchone()
    except psycopg.Error as exc:
        raise Unwell(f"cannot read heartbeats from Postgres: {exc}") from exc
    if not row or not row[0]:
        raise Unwell(f"no worker on {host} has a recent heartbeat")
    return f"{row[0]} on {host} alive"


def beat(given: argparse.Namespace) -> str:
    file = beat_file(settings.SPOOL_HOME)
    try:
        silent = time.time() - file.stat().st_mtime
    except OSError as exc:
        raise Unwell(f"there is no {file}") from exc
    if silent > BEAT_SECS:
        raise Unwell(f"no task sent for {silent:.0f} s")
    return "sending tasks"
