"""Routes about the server itself. They need no login."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from spool.config.env import FALSE, TRUE
from spool.telemetry import metrics
from spool.web import hooks, readiness
from spool.web.answers import INVALID
from spool.web.errors import Unprocessable
from spool.web.metrics import requests_by_route

REDIS_TIMEOUT_SECS = 2


class OkBody(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    services = serializers.DictField(
        child=serializers.ChoiceField(choices=["healthy", "unhealthy"])
    )


class LiveBody(serializers.Serializer[Any]):
    live = serializers.BooleanField()


class ReadyBody(serializers.Serializer[Any]):
    ready = serializers.BooleanField()
    reasons = serializers.ListField(child=serializers.CharField())


class FlagsBody(serializers.Serializer[Any]):
    assistants = serializers.BooleanField()
    crons = serializers.BooleanField()
    langsmith = serializers.BooleanField()
    langsmith_tracing_replicas = serializers.BooleanField()
    langsmith_tracing_session_on_runs = serializers.BooleanField()
    strict_resume = serializers.BooleanField()


class HostBody(serializers.Serializer[Any]):
    kind = serializers.CharField()
    project_id = serializers.CharField(allow_null=True)
    host_revision_id = serializers.CharField(allow_null=True)
    revision_id = serializers.CharField(allow_null=True)
    tenant_id = serializers.CharField(allow_null=True)


class InfoBody(serializers.Serializer[Any]):
    version = serializers.CharField()
    langgraph_py_version = serializers.CharField()
    flags = FlagsBody()
    host = HostBody()


class QueueBody(serializers.Serializer[Any]):
    n_pending = serializers.IntegerField()
    n_running = serializers.IntegerField()
    pending_runs_wait_time_max_secs = serializers.FloatField()
    pending_runs_wait_time_med_secs = serializers.FloatField()
    pending_unblocked_runs_wait_time_max_secs = serializers.FloatField(
        help_text="Of runs that wait for a worker only, not for a run of their thread"
    )


class WorkersBody(serializers.Serializer[Any]):
    max = serializers.IntegerField()
    active = serializers.IntegerField()
    available = serializers.IntegerField()


class AnsweredBody(serializers.Serializer[Any]):
    method = serializers.CharField()
    path = serializers.CharField(help_text="The route; empty if there is none")
    status = serializers.IntegerField()
    count = serializers.IntegerField()


class APIFiguresBody(serializers.Serializer[Any]):
    http_requests_total = AnsweredBody(many=True, help_text="Of this process")


class MetricsBody(serializers.Serializer[Any]):
    queue = QueueBody()
    workers = WorkersBody()
    api = APIFiguresBody()


class PublicView(APIView):
    authentication_classes = []
    permission_classes = []


class OkView(PublicView):
    @extend_schema(
        tags=["System"],
        operation_id="ok",
        parameters=[
            OpenApiParameter(
                "check_db", bool, description="Check Postgres and Redis as well."
            )
        ],
        responses={200: OkBody, 422: INVALID, 500: OkBody},
    )
    def get(self, request: Request) -> Response:
        checks = _CHECKS if _wants_checks(request) else {}
        healthy = {name: check() for name, check in checks.items()}
        is_ok = all(healthy.values())
        return Response(
            {
                "ok": is_ok,
                "services": {
                    name: "healthy" if is_healthy else "unhealthy"
                    for name, is_healthy in healthy.items()
                },
            },
            status=200 if is_ok else 500,
        )


@extend_schema(exclude=True)
class RootView(OkView):
    """The same route at `/`, which load balancers request."""


class LiveView(PublicView):
    @extend_schema(tags=["System"], operation_id="live", responses={200: LiveBody})
    def get(self, request: Request) -> Response:
        """Liveness: the process should be restarted if it doesn't answer."""
        return Response({"live": True})


class ReadyView(PublicView):
    @extend_schema(
        tags=["System"],
        operation_id="ready",
        responses={200: ReadyBody, 503: ReadyBody},
    )
    def get(self, request: Request) -> Response:
        """Readiness for requests. It doesn't need Redis: runs then continue later."""
        reasons = readiness.reasons()
        if not postgres_answers():
            reasons.append("Postgres is away")
        body = {"ready": not reasons, "reasons": reasons}
        return Response(body, status=503 if reasons else 200)


class InfoView(PublicView):
    @extend_schema(tags=["System"], operation_id="info", responses={200: InfoBody})
    def get(self, request: Request) -> Response:
        return Response(
            {
                "version": settings.VERSION,
                "langgraph_py_version": settings.LANGGRAPH_VERSION,
                "flags": {
                    "assistants": True,
                    "crons": True,
                    "langsmith": False,
                    "langsmith_tracing_replicas": False,
                    "langsmith_tracing_session_on_runs": False,
                    "strict_resume": True,
                },
                "host": {
                    "kind": "self-hosted",
                    "project_id": None,
                    "host_revision_id": None,
                    "revision_id": None,
                    "tenant_id": None,
                },
            }
        )


class MetricsView(PublicView):
    @extend_schema(
        tags=["System"],
        operation_id="metrics",
        parameters=[OpenApiParameter("format", str, enum=["prometheus", "json"])],
        responses={
            (200, "text/plain"): OpenApiTypes.STR,
            200: MetricsBody,
            422: INVALID,
        },
    )
    def get(self, request: Request) -> HttpResponse | Response:
        wanted = request.query_params.get("format", "prometheus")
        if wanted == "json":
            answered = {"http_requests_total": requests_by_route()}
            return Response({**hooks.queue_figures(), "api": answered})
        if wanted == "prometheus":
            return HttpResponse(
                metrics.as_prometheus(), content_type=metrics.CONTENT_TYPE
            )
        raise Unprocessable("format: must be prometheus or json")


def postgres_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def redis_answers() -> bool:
    try:
        return bool(_redis().ping())
    except redis.RedisError:
        return False


_CHECKS: dict[str, Callable[[], bool]] = {
    "postgres": postgres_answers,
    "redis": redis_answers,
}


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=REDIS_TIMEOUT_SECS,
        socket_connect_timeout=REDIS_TIMEOUT_SECS,
    )


def _wants_checks(request: Request) -> bool:
    check_db = request.query_params.get("check_db", "").lower()
    if check_db not in TRUE | FALSE:
        raise Unprocessable("check_db: must be true or false")
    return check_db in TRUE


def favicon(request: HttpRequest) -> HttpResponse:
    """The icon that browsers request. It needs no login, since they send none."""
    headers = {"Cache-Control": "public, max-age=86400"}
    return HttpResponse(settings.ICON, content_type="image/svg+xml", headers=headers)


urlpatterns = [
    path("", RootView.as_view(), name="root"),
    path("ok", OkView.as_view(), name="ok"),
    path("live", LiveView.as_view(), name="live"),
    path("ready", ReadyView.as_view(), name="ready"),
    path("info", InfoView.as_view(), name="info"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("favicon.ico", favicon, name="favicon"),
]
