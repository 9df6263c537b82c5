"""`x-request-id`: read from the request or generated, returned, and logged."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from spool.database.ids import uuid7
from spool.telemetry import logs, traces

HEADER = "X-Request-ID"
# The key in a run's `configurable` for the request that created it.
IN_RUNS = "langgraph_request_id"
# The accepted ids: no newlines, which could forge log lines, and no long texts.
FINE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class NameRequests:
    """The outermost middleware, which gives each request its id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = given_id(request) or str(uuid7())
        logs.begin(request_id=request_id)
        cast("Any", request).request_id = request_id
        response = self.get_response(request)
        if match := request.resolver_match:
            traces.name_request(request.method, match.route)
        response[HEADER] = request_id
        return response


def given_id(request: HttpRequest) -> str | None:
    # Not `request.headers`, which would read all headers.
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    return given if FINE.fullmatch(given) else None
