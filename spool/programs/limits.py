"""How many files a process may have open: each viewer of a stream is one."""

from __future__ import annotations

import resource

from django.conf import settings

# What a web process opens besides viewers: modules, logs, Postgres, Redis, requests.
OTHER_FILES = 256


def needed_files() -> int:
    """How many one web process needs for the viewers that are configured."""
    return int(settings.WEB_MAX_VIEWERS + settings.WEB_THREADS + OTHER_FILES)


def allowed_files() -> int:
    """How many it may have at most, once it has raised its limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_open_files() -> None:
    """Raise this process's limit to what it needs, as far as it is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(max(soft, needed_files()), hard)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
