"""Whether callers have to log in, and whether other machines can reach an open server.

Both depend only on settings and `langgraph.json`.
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
    """Whether langgraph.json has custom handlers (`auth.path`)."""
    return bool(langgraph_json().auth.path)


def is_exposed(server: Sequence[Any] | None) -> bool:
    """Whether a request reached an open server at an address that is not loopback.

    `server` is the local address of the connection, since a program that serves
    Spool (`uvicorn --host`) may listen on other addresses than `HOST`.
    """
    if settings.ALLOW_OPEN or not server or not is_open():
        return False
    # The path of a unix socket is not an address: file permissions protect it.
    return _is_loopback_address(str(server[0])) is False


def is_loopback(host: str) -> bool:
    return host == "localhost" or bool(_is_loopback_address(host.strip("[]")))


@lru_cache(maxsize=64)
def _is_loopback_address(text: str) -> bool | None:
    """Whether an address is loopback; None if the text is not an address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # Sockets that listen on IPv4 and IPv6 show IPv4 addresses as mapped ones.
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)
