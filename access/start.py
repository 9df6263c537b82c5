"""Check the access settings before a server starts."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from spool.access.handlers import handlers
from spool.config.access_mode import is_loopback, is_open
from spool.config.env import stop

logger = logging.getLogger(__name__)

OPEN_TO_ALL = (
    "HOST={host} accepts connections from other machines, without authentication: "
    "set SPOOL_AUTH (or auth.path in langgraph.json), or SPOOL_ALLOW_OPEN=true to "
    "allow this"
)
AUTHENTICATION_IS_OFF = (
    "AUTHENTICATION IS OFF: everyone who can reach this server can read and change "
    "all data. Set SPOOL_AUTH, or auth.path in langgraph.json."
)


def check_access() -> None:
    """Stop a server that would be open by mistake. Warn if it is open deliberately."""
    if handlers() and settings.AUTH:
        stop("SPOOL_AUTH and auth.path in langgraph.json can't both be set")
    for message in find_mistakes():
        stop(message.msg)
    if is_open():
        logger.warning(AUTHENTICATION_IS_OFF)


def find_mistakes(**kwargs: Any) -> list[CheckMessage]:
    """Find a server that would be open by mistake, also for `manage.py check`."""
    if is_open() and not settings.ALLOW_OPEN and not is_loopback(settings.HOST):
        return [Error(OPEN_TO_ALL.format(host=settings.HOST), id="access.E001")]
    return []
