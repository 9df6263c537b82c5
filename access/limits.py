"""Rate limits for each caller.

Requests are counted in Redis, by the minute, for all web processes together. While
Redis is unavailable, requests are not counted: they must not fail because of a limit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import redis
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from spool.access.authentication import caller_of
from spool.access.callers import SYSTEM
from spool.config.access_mode import is_open
from spool.database.redis import circuit_breaker
from spool.web import errors

logger = logging.getLogger(__name__)

WINDOW_SECS = 60
COUNT_TIMEOUT_SECS = 0.5
LOGIN = "/admin/login/"
# The limit for each address, independent of `RATE_LIMIT`.
LOGINS_A_MINUTE = 20


@dataclass(frozen=True)
class Count:
    """One caller's requests in the current window."""

    limit: int
    used: int
    reset_secs: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(self.limit - self.used, 0)),
            "RateLimit-Reset": str(self.reset_secs),
            "RateLimit-Policy": f"{self.limit};w={WINDOW_SECS}",
        }


class RateLimit(BaseThrottle):
    """The throttle of Django REST Framework, which runs after authentication."""

    count: Count | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        if not settings.RATE_LIMIT or not view.authentication_classes:
            return True
        if caller_of(request) is SYSTEM:
            return True
        self.count = count_request(_who(request), settings.RATE_LIMIT)
        if self.count is None:
            return True
        cast("Any", request._request).rate_limit = self.count
        return self.count.used <= self.count.limit

    def wait(self) -> float | None:
        return self.count.reset_secs if self.count else None


def count_caller(request: HttpRequest) -> None:
    """Count a request that has no view, such as a WebSocket's handshake. Raises 429."""
    if not settings.RATE_LIMIT:
        return
    count = count_request(_who(request), settings.RATE_LIMIT)
    if count and count.used > count.limit:
        raise Throttled(count.reset_secs)


class LimitLogins:
    """Middleware that limits login attempts, so that passwords can't be guessed."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method != "POST" or request.path_info != LOGIN:
            return self.get_response(request)
        count = count_request(f"login:{_address(request)}", LOGINS_A_MINUTE)
        if count is None or count.used <= count.limit:
            return self.get_response(request)
        response = errors.answer(429, "Too many login attempts: try again in a minute")
        response["Retry-After"] = str(count.reset_secs)
        return response


class ClientLimits:
    """Middleware that adds the `RateLimit-*` headers to responses."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        count: Count | None = getattr(request, "rate_limit", None)
        if count:
            for name, value in count.headers.items():
                response[name] = value
        return response


def count_request(who: str, limit: int) -> Count | None:
    """Count a request; None if Redis does not answer."""
    now = _now()
    window, reset_secs = now // WINDOW_SECS, WINDOW_SECS - now % WINDOW_SECS
    key = f"{settings.REDIS_KEY_PREFIX}spool:rate:{who}:{window}"
    try:
        with circuit_breaker(), _redis().pipeline(transaction=False) as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, WINDOW_SECS)
            used = pipeline.execute()[0]
    except redis.RedisError as exc:
        logger.warning("Could not count requests: %s", exc)
        return None
    return Count(limit, used, reset_secs)


def _who(request: Request | HttpRequest) -> str:
    """The caller's key; the client's address if no login is required."""
    if is_open():
        return f"address:{_address(request)}"
    caller = caller_of(request)
    return f"caller:{caller.key if caller else ''}"


def _address(request: Request | HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def _now() -> int:
    return int(time.time())


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=COUNT_TIMEOUT_SECS,
        socket_connect_timeout=COUNT_TIMEOUT_SECS,
    )
