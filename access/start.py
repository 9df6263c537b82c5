"""What must be true of the access to a server before it starts."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from access.handlers import handlers
from access.sources import is_open
from config.env import stop

logger = logging.getLogger(__name__)

OPEN_TO_ALL = (
    "HOST={host} can be reached by others, and nobody has to log in: set SPOOL_AUTH "
    "(or auth.path in langgraph.json), or SPOOL_ALLOW_OPEN=true if that is meant"
)
NOBODY_LOGS_IN = (
    "NOBODY HAS TO LOG IN: whoever reaches this server sees and changes everything. "
    "Set SPOOL_AUTH, or auth.path in langgraph.json."
)


def check_access() -> None:
    """Stop where a server would be open by mistake, and say so loudly where it is."""
    if handlers() and settings.AUTH:
        stop("SPOOL_AUTH and auth.path in langgraph.json exclude each other")
    for message in find_mistakes():
        stop(message.msg)
    if is_open():
        logger.warning(NOBODY_LOGS_IN)


def find_mistakes(**kwargs: Any) -> list[CheckMessage]:
    """The same for `manage.py check`."""
    if is_open() and not settings.ALLOW_OPEN and not is_loopback(settings.HOST):
        return [Error(OPEN_TO_ALL.format(host=settings.HOST), id="access.E001")]
    return []


def is_exposed(server: Sequence[Any] | None) -> bool:
    """Whether a request came in where others get in, and nobody has to log in.

    `server` is the connection's own end. A program that serves Spool
    (`uvicorn --host`) may listen where `HOST` says nothing of.
    """
    if settings.ALLOW_OPEN or not server or not is_open():
        return False
    # The path of a socket is no address: who may open it is the file system's.
    address = _address(str(server[0]))
    return address is not None and not address.is_loopback


def is_loopback(host: str) -> bool:
    address = _address(host.strip("[]"))
    return host == "localhost" or (address is not None and address.is_loopback)


@lru_cache(maxsize=64)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # What listens to both kinds of address writes those of IPv4 as IPv6.
    return getattr(address, "ipv4_mapped", None) or address
