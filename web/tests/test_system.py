from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.db import connections
from django.test import Client
from django.utils import timezone

from spool.assistants.models import Assistant
from spool.runs.models import Run, Worker
from spool.threads.models import Thread
from spool.web import system


@pytest.mark.parametrize("path", ["/", "/ok", "/ok?check_db=0", "/ok?check_db=false"])
def test_ok_makes_no_checks(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert response.json() == {"ok": True, "services": {}}


@pytest.mark.django_db
def test_a_server_that_can_serve_is_ready(client: Client, api_keys: None) -> None:
    assert client.get("/live").json() == {"live": True}
    assert client.get("/ready").json() == {"ready": True, "reasons": []}


def test_a_server_without_postgres_is_not_ready(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "postgres_answers", lambda: False)

    response = client.get("/ready")

    assert response.status_code == 503
    assert response.json() == {"ready": False, "reasons": ["Postgres is away"]}
    assert client.get("/live").status_code == 200


def test_browsers_get_an_icon_without_a_login(client: Client, api_keys: None) -> None:
    icon = client.get("/favicon.ico")

    assert icon.status_code == 200
    assert icon.headers["Content-Type"] == "image/svg+xml"


@pytest.mark.parametrize(
    "path", ["/?check_db=1", "/ok?check_db=1", "/ok?check_db=true"]
)
@pytest.mark.django_db
def test_ok_asks_postgres_and_redis_when_told(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert response.json() == {
        "ok": True,
        "services": {"postgres": "healthy", "redis": "healthy"},
    }


@pytest.mark.django_db
def test_ok_names_a_redis_that_is_down(
    client: Client, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(system, "_redis", system._redis.__wrapped__)

    response = client.get("/ok?check_db=1")

    assert response.status_code == 500
    assert response.json() == {
        "ok": False,
        "services": {"postgres": "healthy", "redis": "unhealthy"},
    }


@pytest.mark.django_db(transaction=True)
def test_ok_names_a_postgres_that_is_down(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections["default"].close()
    monkeypatch.setitem(connections["default"].settings_dict, "PORT", "1")

    response = client.get("/ok?check_db=1")

    assert response.status_code == 500
    assert response.json()["services"]["postgres"] == "unhealthy"


def test_ok_refuses_a_flag_that_is_none(client: Client) -> None:
    response = client.get("/ok?check_db=perhaps")

    assert response.status_code == 422
    assert response.json() == {"detail": "check_db: must be true or false"}


def test_ok_takes_no_post(client: Client) -> None:
    response = client.post("/ok")

    assert response.status_code == 405
    assert response.json() == {"detail": "Method Not Allowed"}
    assert "GET" in response.headers["allow"]


def test_info_has_the_official_keys(client: Client, settings: LazySettings) -> None:
    info = client.get("/info").json()

    assert info["version"] == settings.VERSION
    assert info["langgraph_py_version"] == settings.LANGGRAPH_VERSION
    assert set(info["flags"]) == {
        "assistants",
        "crons",
        "langsmith",
        "langsmith_tracing_replicas",
        "langsmith_tracing_session_on_runs",
        "strict_resume",
    }
    assert set(info["host"]) == {
        "kind",
        "project_id",
        "host_revision_id",
        "revision_id",
        "tenant_id",
    }


@pytest.fixture
def _queue(db: None) -> None:
    """Two pending runs, one running, one delayed; a live worker and a dead one."""
    now = timezone.now()
    alive = Worker.objects.create(hostname="a", pid=1, capacity=10)
    silent = now - dt.timedelta(hours=1)
    Worker.objects.create(hostname="b", pid=2, capacity=7, heartbeat_at=silent)
    Worker.objects.create(hostname="c", pid=3, capacity=5, expired_at=now)
    new_run(created_at=now - dt.timedelta(seconds=100))
    new_run(created_at=now - dt.timedelta(seconds=50))
    new_run(created_at=now + dt.timedelta(hours=1))
    new_run(status=Run.Status.RUNNING, worker=alive)
    new_run(status=Run.Status.SUCCESS)


def new_run(**fields: Any) -> Run:
    assistant_id = Assistant.objects.order_by("id").values_list("id", flat=True).first()
    return Run.objects.create(
        thread=Thread.objects.create(),
        assistant_id=assistant_id or "00000000-0000-0000-0000-000000000001",
        graph_id="echo",
        **fields,
    )


@pytest.mark.usefixtures("_queue")
def test_metrics_as_json_count_the_queue(client: Client) -> None:
    found = client.get("/metrics?format=json").json()

    assert found["queue"]["n_pending"] == 2
    assert found["queue"]["n_running"] == 1
    assert 100 <= found["queue"]["pending_runs_wait_time_max_secs"] < 130
    assert 75 <= found["queue"]["pending_runs_wait_time_med_secs"] < 105
    assert found["workers"] == {"max": 10, "active": 1, "available": 9}
    assert found["queue"]["pending_unblocked_runs_wait_time_max_secs"] == 0


@pytest.mark.django_db
def test_requests_are_counted_by_route(client: Client) -> None:
    def counted(path: str) -> int:
        answered = client.get("/metrics?format=json").json()["api"]
        of_path = {"method": "GET", "path": path, "status": 404}
        return sum(
            one["count"]
            for one in answered["http_requests_total"]
            if of_path.items() <= one.items()
        )

    before = [counted("/threads/{thread_id}"), counted("")]
    client.get(f"/threads/{uuid4()}")
    client.get("/no/such/route")

    after = [counted("/threads/{thread_id}"), counted("")]
    assert after == [count + 1 for count in before]


@pytest.mark.usefixtures("_queue")
def test_metrics_for_prometheus(client: Client) -> None:
    response = client.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert 'spool_runs{class="background",status="pending"} 2.0' in lines
    assert 'spool_runs{class="background",status="running"} 1.0' in lines
    assert 'spool_worker_slots{state="available"} 9.0' in lines
    assert any(line.startswith("process_cpu_seconds_total") for line in lines)


@pytest.mark.django_db
def test_metrics_of_an_empty_server_are_zeros(client: Client) -> None:
    found = client.get("/metrics?format=json").json()

    assert found["queue"]["pending_runs_wait_time_max_secs"] == 0
    assert found["workers"] == {"max": 0, "active": 0, "available": 0}


def test_metrics_refuse_an_unknown_format(client: Client) -> None:
    response = client.get("/metrics?format=xml")

    assert response.status_code == 422
    assert response.json() == {"detail": "format: must be prometheus or json"}


@pytest.mark.django_db
def test_made_up_methods_make_no_new_series(client: Client) -> None:
    client.generic("BREW", "/ok")

    assert "BREW" not in client.get("/metrics").text


def test_docs_and_the_schema_are_served(client: Client) -> None:
    page = client.get("/docs")
    schema = client.get("/openapi.json")

    assert page.status_code == 200
    assert "swagger" in page.text.lower()
    assert {"/ok", "/info", "/metrics"} <= set(schema.json()["paths"])


CONFIG_KEYS = {
    *("configurable", "max_concurrency", "metadata"),
    *("recursion_limit", "run_name", "tags"),
}


@pytest.mark.parametrize(
    ("body", "field", "keys"),
    [
        ("AssistantBody", "config", CONFIG_KEYS),
        ("ThreadBody", "config", CONFIG_KEYS),
        ("RunRequest", "config", CONFIG_KEYS),
        ("RunRequest", "command", {"goto", "resume", "update"}),
        (
            "RunRequest",
            "checkpoint",
            {"checkpoint_id", "checkpoint_map", "checkpoint_ns", "thread_id"},
        ),
    ],
)
def test_the_schema_types_what_generated_clients_fill_in(
    client: Client, body: str, field: str, keys: set[str]
) -> None:
    bodies = client.get("/openapi.json").json()["components"]["schemas"]

    assert bodies[body]["properties"][field]["properties"].keys() == keys


def test_the_schema_asks_for_no_network(client: Client) -> None:
    assert "cdn" not in client.get("/docs").text


def test_admin_without_its_slash_is_redirected(client: Client) -> None:
    response = client.get("/admin")

    assert response.status_code == 302
    assert response.headers["location"] == "/admin/"
