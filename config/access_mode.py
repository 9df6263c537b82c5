"""Whether callers have to log in, and whether a server that is open may be reached.

This follows from settings and `langgraph.json` alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings

from spool.config.langgraph_json import langgraph_json


def is_open() -> bool:
    """Whether requests are answered without a login."""
    return not settings.AUTH and not has_handlers()


def has_handlers() -> bool:
    """Whether langgraph.json names handlers of its own (`auth.path`)."""
    return bool(langgraph_json().auth.path)


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
