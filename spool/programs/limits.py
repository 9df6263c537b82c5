"""The limit of open files: each viewer of a stream needs one."""

from __future__ import annotations

import resource

from django.conf import settings

# Other open files of a web process: modules, logs, Postgres, Redis, requests.
OTHER_FILES = 256


def needed_files() -> int:
    """The number of files that a web process needs for `WEB_MAX_VIEWERS`."""
    return int(settings.WEB_MAX_VIEWERS + settings.WEB_THREADS + OTHER_FILES)


def allowed_files() -> int:
    """The maximum to which a process may raise its limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_open_files() -> None:
    """Raise this process's limit to the needed number, as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(max(soft, needed_files()), hard)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
