"""Spool's routes, and views for the tests of the web process."""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from django.db import connection
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from spool.web.asgi_response import ASGIResponse, request_of
from spool.web.guards import Receive, Scope, Send

handler400 = "spool.web.errors.bad_request"
handler404 = "spool.access.views.not_found"
handler500 = "spool.web.errors.server_error"

# Set when the iterator of a stream has been closed.
stream_closed = threading.Event()
# The requests of streams that are still in memory.
stream_requests: weakref.WeakSet[HttpRequest] = weakref.WeakSet()


@csrf_exempt
def size(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"bytes": len(request.read())})


@api_view(["POST"])
def parsed(request: Request) -> Response:
    return Response({"items": len(cast("Any", request.data)["items"])})


def fails(request: HttpRequest) -> JsonResponse:
    raise RuntimeError("the secret of the row")


def backend_pid(request: HttpRequest) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return JsonResponse({"pid": cursor.fetchone()[0]})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream `?chunks=N` of `?size=` bytes each; after them `?then=` wait or fail."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    stream_requests.add(request)
    wanted = {key: str(value) for key, value in request.GET.items()}
    return StreamingHttpResponse(_chunks(wanted), content_type="text/event-stream")


async def _chunks(wanted: dict[str, Any]) -> AsyncIterator[bytes]:
    stream_closed.clear()
    try:
        for number in range(int(wanted.get("chunks", 1))):
            yield f"{number}".encode().ljust(int(wanted.get("size", 1)), b".") + b"\n"
            await asyncio.sleep(0)
        if wanted.get("then") == "wait":
            await asyncio.sleep(60)
        if wanted.get("then") == "fail":
            raise RuntimeError("the secret of the stream")
    finally:
        stream_closed.set()


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(3):
            with connection.cursor() as cursor:
                cursor.execute("SELECT %s::int", [number])
                yield f"{cursor.fetchone()[0]}\n"

    return StreamingHttpResponse(lines())


# The last messages that the ASGI application below received, and its cancellations.
app_events: queue.Queue[str] = queue.Queue()


@extend_schema(exclude=True)
@api_view(["POST"])
def app(request: Request) -> ASGIResponse:
    """Echo the body; `?then=` says what the application does afterwards."""
    stays = request.query_params.get("then") == "stay"
    return ASGIResponse(request, _app, outlives_client=stays)


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    then = request_of(scope).query_params.get("then", "end")
    body = (await receive())["body"]
    if then == "fail early":
        raise RuntimeError("the secret of the application")
    headers = [(b"Content-Type", b"text/plain"), (b"vary", b"X-One")]
    await send({"type": "http.response.start", "status": 207, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if then == "fail late":
        raise RuntimeError("the secret of the application")
    if then != "stop":
        try:
            if then in ("wait", "stay"):
                app_events.put((await receive())["type"])
            await send({"type": "http.response.body", "body": b"!"})
        except asyncio.CancelledError:
            app_events.put("cancelled")
            raise


urlpatterns = [
    path("t/app", app),
    path("t/size", size),
    path("t/parsed", parsed),
    path("t/fails", fails),
    path("t/pid", backend_pid),
    path("t/stream", stream),
    path("t/sync-stream", sync_stream),
    path("", include("spool.config.urls")),
]
