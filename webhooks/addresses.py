"""Restricts the URLs that webhooks may call, to prevent server-side request forgery.

A client sends the URL, but the call is made from inside the operator's network. So
addresses are checked, not names: when a run is created, to respond with 422, and again
on connecting. The connection is made to the address that was checked, so a name that
resolves to another address later is of no use to an attacker.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import httpx
from django.conf import settings

from spool.config.env import stop
from spool.config.langgraph_json import langgraph_json
from spool.config.langgraph_schema import Webhooks
from spool.web.errors import Unprocessable

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_LENGTH = 65536
PORTS = {"http": 80, "https": 443}
MAX_PORT = 65535
# The prefix of IPv6 addresses that embed IPv4 addresses, in networks without IPv4.
NAT64 = ip_network("64:ff9b::/96")
_VARIABLE = re.compile(r"\$\{\{\s*env\.(\w+)\s*\}\}")
# The valid header names in HTTP.
_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
# How long a request to create a run waits for name servers, in seconds.
RESOLVE_TIMEOUT_SECS = 3.0
# Name servers may be slow, so names are resolved in a pool, and requests can time out.
RESOLVERS = ThreadPoolExecutor(16, thread_name_prefix="resolve")


class Refused(Exception):
    """The URL may not be called; the text says why."""


class BadSettings(ValueError):
    """The webhook settings of langgraph.json are invalid."""


@dataclass(frozen=True)
class Policy:
    """`webhooks` of langgraph.json; see the wire contract, section 10."""

    headers: dict[str, str] = field(default_factory=dict)
    require_https: bool = False
    allowed_domains: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()
    max_url_length: int = MAX_URL_LENGTH
    disable_loopback: bool = True
    # Networks outside the public internet that may be called.
    allowed_networks: tuple[Network, ...] = ()

    def check_url(self, text: str) -> httpx.URL:
        """Parse a URL and check all of it except its addresses. Raises `Refused`."""
        if len(text) > self.max_url_length:
            raise Refused(f"must not be longer than {self.max_url_length} characters")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError) as exc:
            raise Refused(f"is not a URL: {exc}") from None
        if url.scheme not in PORTS or not url.raw_host:
            raise Refused("must be an absolute http or https URL")
        if port_of(url) > MAX_PORT:
            raise Refused(f"{port_of(url)} is not a valid port")
        if self.require_https and url.scheme != "https":
            raise Refused("must be https")
        if self.allowed_domains and not self._allows_domain(host_of(url)):
            raise Refused(f"the domain {host_of(url)} is not allowed")
        if self.allowed_ports and port_of(url) not in self.allowed_ports:
            raise Refused(f"the port {port_of(url)} is not allowed")
        return url

    def check_addresses(self, host: str, addresses: Iterable[str]) -> None:
        """Raise `Refused` if clients may not call one of these addresses."""
        for text in addresses:
            if kind := self._kind(ip_address(text)):
                raise Refused(f"{host} is the {kind} address {text}")

    def _allows_domain(self, host: str) -> bool:
        return any(
            host.endswith(domain[1:]) if domain.startswith("*.") else host == domain
            for domain in self.allowed_domains
        )

    def _kind(self, address: Address) -> str:
        """Why an address may not be called; "" if it may."""
        inner = _unwrapped(address)
        if any(one in net for net in self.allowed_networks for one in (address, inner)):
            return ""
        if inner.is_loopback:
            return "loopback" if self.disable_loopback else ""
        if inner.is_link_local:
            return "link-local"
        if inner.is_multicast:
            return "multicast"
        site_local = isinstance(inner, IPv6Address) and inner.is_site_local
        if not inner.is_global or inner.is_reserved or site_local:
            return "private"
        return ""


@cache
def policy() -> Policy:
    """The policy of this server. Raises `BadSettings`."""
    given = langgraph_json().webhooks
    networks = tuple(map(_network, settings.WEBHOOK_ALLOWED_NETWORKS))
    rules = Policy(headers=_headers(given), allowed_networks=networks)
    if given.url is None:
        return rules
    return replace(
        rules,
        require_https=given.url.require_https,
        allowed_domains=tuple(domain.lower() for domain in given.url.allowed_domains),
        allowed_ports=tuple(given.url.allowed_ports),
        max_url_length=min(given.url.max_url_length, MAX_URL_LENGTH),
        disable_loopback=given.url.disable_loopback,
    )


def check_settings() -> None:
    """Stop the process at start if the policy is invalid, not at the first run."""
    try:
        rules = policy()
    except BadSettings as exc:
        stop(f"{settings.LANGGRAPH_CONFIG}: webhooks: {exc}")
    if rules.headers and not rules.allowed_domains:
        logger.warning(
            "webhooks.headers are sent to any URL that a client names: set "
            "webhooks.url.allowed_domains"
        )


def check(text: str) -> None:
    """Raise 422 for a webhook that would be refused later. Skips its addresses."""
    if langgraph_json().http.disable_webhooks:
        raise Unprocessable("webhook: webhooks are disabled on this server")
    try:
        policy().check_url(text)
    except Refused as exc:
        raise Unprocessable(f"webhook: {exc}") from None


def check_hosts(texts: Iterable[str]) -> None:
    """Raise 422 if an address of these URLs' hosts is refused. Resolves concurrently.

    A URL is not refused if the name server times out: it is checked again on
    connecting.
    """
    urls = [httpx.URL(text) for text in set(texts)]
    hosts = {host_of(url): port_of(url) for url in urls}
    lookups = {host: RESOLVERS.submit(resolve, host, hosts[host]) for host in hosts}
    wait(lookups.values(), timeout=RESOLVE_TIMEOUT_SECS)
    try:
        for host, lookup in lookups.items():
            if lookup.done():
                policy().check_addresses(host, lookup.result())
            else:
                lookup.cancel()
    except Refused as exc:
        raise Unprocessable(f"webhook: {exc}") from None


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises `Refused` if it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refused(f"the host {host} can't be resolved") from None
    return [str(sockaddr[0]) for *_, sockaddr in found]


def host_of(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").strip("[]").rstrip(".").lower()


def port_of(url: httpx.URL) -> int:
    return url.port or PORTS[url.scheme]


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address embeds, if any."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _headers(given: Webhooks) -> dict[str, str]:
    for name in given.headers:
        _expect(bool(_NAME.fullmatch(name)), f"{name!r} is not a valid header name")

    def value_of(match: re.Match[str]) -> str:
        name, prefix = match[1], given.env_prefix
        _expect(name.startswith(prefix), f"{name} does not start with {prefix}")
        _expect(name in os.environ, f"{name} is not set")
        return os.environ[name]

    made = {n: _VARIABLE.sub(value_of, text) for n, text in given.headers.items()}
    for name, value in made.items():
        # A variable that was read from a file often ends with a newline.
        fits = value.isascii() and value.isprintable()
        _expect(fits, f"headers.{name} has a character that is not allowed in headers")
    return made


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise BadSettings(otherwise)


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as exc:
        raise BadSettings(f"WEBHOOK_ALLOWED_NETWORKS: {exc}") from None
