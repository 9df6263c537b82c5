"""`GET /usage`."""

from __future__ import annotations

import csv
from datetime import date
from typing import Any

import pytest
from rest_framework.test import APIClient

from spool.access.tests.people import Client
from spool.usage.models import UsageRuns, UsageTotal

pytestmark = pytest.mark.django_db

ASSISTANT = "00000000-0000-0000-0000-000000000001"
# Grouped by model, runs can't be told apart.
UNKNOWN_RUNS = {
    "successful_runs": None,
    "failed_runs": None,
    "timed_out_runs": None,
    "interrupted_runs": None,
    "rolled_back_runs": None,
    "run_seconds": None,
}
JANUARY = "start=2026-01-01&end=2026-01-31"


def used(owner: str = "alice", **changes: Any) -> None:
    given = {
        "owner": owner,
        "assistant_id": ASSISTANT,
        "graph_id": "chat",
        "revision": "r1",
        "node": "agent",
        "provider": "openai",
        "model": "gpt-4o",
        "day": date(2026, 1, 15),
        "calls": 1,
        "input": 1000,
        "output": 100,
    }
    UsageTotal.objects.create(**{**given, **changes})


def ran(owner: str = "alice", **changes: Any) -> None:
    given = {
        "owner": owner,
        "assistant_id": ASSISTANT,
        "graph_id": "chat",
        "revision": "r1",
        "day": date(2026, 1, 15),
    }
    UsageRuns.objects.create(**{**given, **changes})


def test_usage_is_grouped_and_priced(alice_client: Client) -> None:
    used()
    used()
    used(model="tiny-1", provider="tiny", input=7, output=1, reasoning=1)
    used(day=date(2025, 12, 31))

    body = alice_client.call("get", f"/usage?{JANUARY}").json()

    assert body["currency"] == "USD"
    assert body["prices"]["source"].startswith("genai-prices ")
    known, unknown = body["usage"]
    assert known == {
        "model": "gpt-4o",
        "calls": 2,
        "input_tokens": 2000,
        "output_tokens": 200,
        "total_tokens": 2200,
        "cached_tokens": 0,
        "cache_written_tokens": 0,
        "reasoning_tokens": 0,
        "cost": "0.007000",
        "unpriced_models": [],
        **UNKNOWN_RUNS,
    }
    assert (unknown["model"], unknown["cost"]) == ("tiny-1", "0.000000")
    assert unknown["unpriced_models"] == ["tiny-1"]
    assert body["total"]["total_tokens"] == 2208
    assert body["total"]["unpriced_models"] == ["tiny-1"]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("", [{}]),
        ("owner", [{"owner": "alice"}]),
        ("assistant", [{"assistant": ASSISTANT}]),
        ("graph", [{"graph": "chat"}]),
        ("node", [{"node": "a"}, {"node": "b"}]),
        ("model", [{"model": "gpt-4o"}]),
        ("provider", [{"provider": "openai"}]),
        ("day", [{"day": "2026-01-14"}, {"day": "2026-01-15"}]),
        (
            "graph,node",
            [{"graph": "chat", "node": "a"}, {"graph": "chat", "node": "b"}],
        ),
        ("revision", [{"revision": "r1"}, {"revision": "r2"}]),
        ("owner,assistant", [{"owner": "alice", "assistant": ASSISTANT}]),
        ("api_key", [{"api_key": None}]),
    ],
)
def test_usage_is_grouped_as_it_is_asked_for(
    alice_client: Client, groups: str, expected: list[dict[str, Any]]
) -> None:
    used(node="a", revision="r1", day=date(2026, 1, 14))
    used(node="b", revision="r2")

    rows = alice_client.call("get", f"/usage?{JANUARY}&group_by={groups}").json()

    names = groups.split(",") if groups else []
    assert [{name: row[name] for name in names} for row in rows["usage"]] == expected


def test_usage_is_filtered(alice_client: Client) -> None:
    used(node="a")
    used(node="b", model="tiny-1")

    def total(query: str) -> int:
        body = alice_client.call("get", f"/usage?{JANUARY}&{query}").json()
        return int(body["total"]["calls"])

    assert total("node=a") == total("model=tiny-1") == total("node=b") == 1
    assert total("graph_id=chat") == total(f"assistant_id={ASSISTANT}") == 2
    assert total("graph_id=other") == 0


def test_a_bad_revision_shows_in_the_runs(alice_client: Client) -> None:
    used(revision="r1")
    ran(revision="r1", successful=8, failed=1, seconds=20.5)
    ran(revision="r1", successful=1, day=date(2026, 1, 16))
    ran(revision="r2", failed=4, timed_out=1, interrupted=2, rolled_back=3, seconds=9)
    ran("bob", revision="r2", successful=100)

    body = alice_client.call("get", f"/usage?{JANUARY}&group_by=revision").json()

    good, bad = body["usage"]
    assert (good["revision"], good["successful_runs"], good["calls"]) == ("r1", 9, 1)
    assert (good["failed_runs"], good["run_seconds"]) == (1, 20.5)
    assert (bad["revision"], bad["successful_runs"], bad["calls"]) == ("r2", 0, 0)
    assert [bad[f"{how}_runs"] for how in ("failed", "timed_out")] == [4, 1]
    assert [bad[f"{how}_runs"] for how in ("interrupted", "rolled_back")] == [2, 3]
    assert (body["total"]["successful_runs"], body["total"]["failed_runs"]) == (9, 5)


def test_runs_are_told_apart_where_they_can_be(alice_client: Client) -> None:
    used()
    ran(successful=1)
    ran(successful=2, graph_id="other")

    def runs(query: str) -> Any:
        body = alice_client.call("get", f"/usage?{JANUARY}&{query}").json()
        return body["total"]["successful_runs"]

    assert runs("group_by=") == runs("group_by=owner,day,graph,assistant") == 3
    assert runs("group_by=graph&graph_id=chat") == 1
    assert runs("group_by=graph,model") is None
    assert runs("group_by=graph&node=agent") is None


def test_usage_as_csv(alice_client: Client) -> None:
    used()
    used(node="=cmd|' /C calc'!A0")

    response = alice_client.call("get", f"/usage?{JANUARY}&group_by=node&format=csv")

    assert response["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(response.content.decode().splitlines()))
    assert [row["node"] for row in rows] == ["'=cmd|' /C calc'!A0", "agent"]
    assert rows[1]["cost"] == "0.003500"
    assert rows[1]["currency"] == "USD"
    assert rows[1]["failed_runs"] == ""


def test_runs_as_csv(alice_client: Client) -> None:
    ran(failed=2, seconds=1.25)

    response = alice_client.call("get", f"/usage?{JANUARY}&group_by=graph&format=csv")

    [row] = csv.DictReader(response.content.decode().splitlines())
    assert (row["failed_runs"], row["run_seconds"], row["calls"]) == ("2", "1.25", "0")


@pytest.mark.parametrize(
    "query",
    [
        "group_by=colour",
        "start=2026-02-01&end=2026-01-01",
        "start=2020-01-01&end=2026-01-01",
        "start=soon",
        "assistant_id=7",
        "format=xml",
    ],
)
def test_what_is_malformed_is_refused(alice_client: Client, query: str) -> None:
    assert alice_client.call("get", f"/usage?{query}").status_code == 422


def test_each_sees_their_own(alice_client: Client, bob_client: Client) -> None:
    used("alice")
    used("bob", input=7)

    mine = alice_client.call("get", f"/usage?{JANUARY}&group_by=owner").json()
    theirs = alice_client.call("get", f"/usage?{JANUARY}&owner=bob").json()

    assert [row["owner"] for row in mine["usage"]] == ["alice"]
    assert theirs["total"]["calls"] == 0


def test_an_open_server_shows_all(client: APIClient) -> None:
    used("alice")
    used("bob")

    body = client.get(f"/usage?{JANUARY}&group_by=owner").json()

    assert [row["owner"] for row in body["usage"]] == ["alice", "bob"]
