"""The checks of `spool doctor`: settings, Postgres, Redis, graphs and processes."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import socket
from collections.abc import Callable, Iterator

import django
import redis
from django.conf import settings
from django.core.checks import CheckMessage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

django.setup()

from spool.access.start import find_mistakes  # noqa: E402
from spool.assistants.graphs import registry  # noqa: E402
from spool.checks import check_broker, check_database, check_graphs  # noqa: E402
from spool.config.access_mode import has_handlers, is_open  # noqa: E402
from spool.config.env import env_secret  # noqa: E402
from spool.config.langgraph_json import ignored_keys  # noqa: E402
from spool.programs import health, limits  # noqa: E402
from spool.programs.findings import ERROR, LOOK, OK, Finding  # noqa: E402
from spool.runs.models import Worker  # noqa: E402
from spool.runs.streaming.events import redis_client  # noqa: E402
from spool.web.mounting import check_routes  # noqa: E402

MIB = 2**20


def find() -> list[Finding]:
    # The findings replace logged warnings.
    logging.disable(logging.WARNING)
    found = [_versions(), _access(), _key_alone(), _files()]
    found.extend(_project())
    has_database, has_tables = False, False
    for finding in _database():
        found.append(finding)
        has_database |= finding.subject == "Postgres" and finding.state != ERROR
        has_tables |= finding.subject == "migrations" and finding.state != ERROR
    found.append(_redis())
    if has_database and has_tables:
        found.extend(_workers())
    found += [_process("web", health.web), _process("beat", health.beat)]
    return found


def _versions() -> Finding:
    python = platform.python_version()
    text = (
        f"{settings.VERSION}, LangGraph {settings.LANGGRAPH_VERSION}, Python {python}"
    )
    return Finding("Spool", OK, f"{text}, state in {settings.SPOOL_HOME}")


def _access() -> Finding:
    if errors := find_mistakes():
        return Finding("access", ERROR, errors[0].msg)
    if is_open():
        return Finding("access", LOOK, f"authentication is off; HOST={settings.HOST}")
    how = "auth.path" if has_handlers() else " or ".join(settings.AUTH)
    return Finding("access", OK, how)


def _key_alone() -> Finding:
    if env_secret("DJANGO_SECRET_KEY"):
        return Finding("secret key", OK, "DJANGO_SECRET_KEY")
    file = settings.SPOOL_HOME / "secret_key"
    return Finding("secret key", OK, f"embedded, in {file}")


def _files() -> Finding:
    needed, allowed = limits.needed_files(), limits.allowed_files()
    text = f"{allowed} for {settings.WEB_MAX_VIEWERS} viewers (WEB_MAX_VIEWERS)"
    if allowed < needed:
        text = f"{text}: {needed} are needed, see `ulimit -Hn` and LimitNOFILE"
        return Finding("open files", ERROR, text)
    return Finding("open files", OK, text)


def _project() -> Iterator[Finding]:
    errors = check_graphs() + check_routes()
    if errors:
        yield from _wrong("graphs", errors)
    else:
        ids = ", ".join(registry().graph_ids)
        yield Finding("graphs", OK, f"{ids} ({settings.LANGGRAPH_CONFIG})")
    if ignored := ignored_keys():
        yield Finding("graphs", LOOK, f"keys without effect: {', '.join(ignored)}")


def _database() -> Iterator[Finding]:
    if errors := check_database():
        yield from _wrong("Postgres", errors)
        return
    version = ".".join(map(str, connection.get_database_version()))
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        vector = cursor.fetchone()
    text = f", pgvector {vector[0]}" if vector else ", no pgvector in this database"
    yield Finding("Postgres", OK, version + text)
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        text = f"{len(plan)} are not applied: run `spool prepare`"
        yield Finding("migrations", ERROR, text)
    else:
        yield Finding("migrations", OK, "all are there")


def _redis() -> Finding:
    if errors := check_broker():
        return Finding("Redis", ERROR, errors[0].msg)
    try:
        info = redis_client().info()
    except (redis.RedisError, OSError) as exc:
        return Finding("Redis", ERROR, str(exc))
    used, most = info.get("used_memory", 0) // MIB, info.get("maxmemory", 0) // MIB
    version = info.get("valkey_version") or info.get("redis_version")
    policy = info.get("maxmemory_policy", "")
    text = f"{version}, {used} MiB of {most or 'unlimited'} used, {policy}"
    # Messages have no TTL: these policies would evict them.
    return Finding("Redis", LOOK if policy.startswith("allkeys") else OK, text)


def _workers() -> Iterator[Finding]:
    alive = Worker.objects.alive()
    hosts = sorted(set(alive.values_list("hostname", flat=True)))
    places = sum(alive.values_list("capacity", flat=True))
    if not hosts:
        yield Finding("workers", ERROR, "no live worker: start `spool worker`")
        return
    text = f"{len(alive)} on {', '.join(hosts)}, for {places} runs at once"
    yield Finding("workers", OK if places else LOOK, text)
    others = [host for host in hosts if host != socket.gethostname()]
    if others and not env_secret("DJANGO_SECRET_KEY"):
        text = f"set DJANGO_SECRET_KEY: {', '.join(others)} can't read the one of this machine"
        yield Finding("secret key", ERROR, text)


def _process(name: str, check: Callable[[argparse.Namespace], str]) -> Finding:
    """A process on this machine; a deployment may run it on another one."""
    given = argparse.Namespace(host=None, port=os.environ.get("PORT"))
    try:
        return Finding(name, OK, check(given))
    except health.Unwell as exc:
        return Finding(name, LOOK, f"none on this machine: {exc}")


def _wrong(subject: str, errors: list[CheckMessage]) -> Iterator[Finding]:
    for error in errors:
        yield Finding(subject, ERROR, error.msg)
