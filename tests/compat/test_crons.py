"""Every method of the official Python clients for crons; JavaScript's are in js/."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from langgraph_sdk.errors import (
    BadRequestError,
    NotFoundError,
    UnprocessableEntityError,
)
from langgraph_sdk.schema import CronSelectField, CronSortBy

from spool.tests.live import WAIT_SECS

pytestmark = pytest.mark.e2e

ECHO = "046b5dc7-2108-582c-9c6c-31d556d138f0"
HI = {"messages": [{"role": "user", "content": "hi"}]}
NEW_YEAR = "0 0 1 1 *"


@pytest.fixture
def mark() -> dict[str, str]:
    """Metadata that only this test's crons have."""
    return {"mark": uuid.uuid4().hex}


OPTIONS: dict[str, Any] = {
    "input": HI,
    "config": {"tags": ["t"], "recursion_limit": 9},
    "context": {"user_name": "ann"},
    "interrupt_before": ["answer"],
    "interrupt_after": "*",
    "multitask_strategy": "interrupt",
    "enabled": False,
    "stream_mode": ["values", "updates"],
    "stream_subgraphs": True,
    "stream_resumable": True,
    "durability": "sync",
}


async def test_a_stateless_cron_is_created(client: Any, mark: dict[str, str]) -> None:
    end = datetime.now(UTC) + timedelta(days=800)

    cron = await client.crons.create(
        "echo",
        schedule=NEW_YEAR,
        metadata=mark,
        end_time=end,
        timezone=ZoneInfo("America/New_York"),
        on_run_completed="keep",
        **OPTIONS,
    )

    assert set(cron) >= set(get_args(CronSelectField)) - {"now"}
    assert cron["assistant_id"] == ECHO
    assert cron["thread_id"] is None
    assert cron["schedule"] == NEW_YEAR
    assert cron["timezone"] == "America/New_York"
    assert datetime.fromisoformat(cron["end_time"]) == end
    assert cron["on_run_completed"] == "keep"
    assert cron["metadata"] == mark
    assert (cron["enabled"], cron["next_run_date"]) == (False, None)
    payload = cron["payload"]
    assert payload["config"].pop("configurable") == {"cron_id": cron["cron_id"]}
    assert {name: payload[name] for name in OPTIONS} == OPTIONS


async def test_a_cron_of_a_thread_is_created(
    client: Any, thread_id: str, mark: dict[str, str]
) -> None:
    cron = await client.crons.create_for_thread(
        thread_id,
        ECHO,
        schedule=NEW_YEAR,
        metadata=mark,
        end_time=datetime.now() + timedelta(days=800),
        timezone="Asia/Kolkata",
        **{**OPTIONS, "enabled": True},
    )

    next_run = datetime.fromisoformat(cron["next_run_date"])
    local = next_run.astimezone(ZoneInfo("Asia/Kolkata"))
    assert cron["thread_id"] == thread_id
    assert cron["on_run_completed"] is None
    assert (local.month, local.day, local.hour, local.minute) == (1, 1, 0, 0)
    assert next_run.utcoffset() == timedelta(0)
    await client.crons.delete(cron["cron_id"])


async def test_any_subset_of_a_cron_is_updated(
    client: Any, mark: dict[str, str]
) -> None:
    cron = await client.crons.create(
        "echo", schedule=NEW_YEAR, metadata=mark, end_time=datetime(2126, 1, 1)
    )
    cron_id = cron["cron_id"]
    changes: dict[str, Any] = {
        key: value for key, value in OPTIONS.items() if key != "multitask_strategy"
    }

    changed = await client.crons.update(
        cron_id, metadata={"more": 1}, on_run_completed="keep", **changes
    )
    moved = await client.crons.update(
        cron_id, schedule="0 12 * * *", timezone=ZoneInfo("Asia/Tokyo"), enabled=True
    )
    endless = await client.crons.update(cron_id, end_time=None)

    assert changed["metadata"] == {**mark, "more": 1}
    assert changed["on_run_completed"] == "keep"
    assert changed["end_time"] == "2126-01-01T00:00:00.000000+00:00"
    changed["payload"]["config"].pop("configurable")
    assert {name: changed["payload"][name] for name in changes} == changes
    assert moved["next_run_date"].endswith("T03:00:00+00:00")
    assert moved["end_time"] == changed["end_time"]
    assert endless["end_time"] is None
    assert endless["next_run_date"] == moved["next_run_date"]


async def test_crons_are_searched_and_counted(
    client: Any, thread_id: str, mark: dict[str, str]
) -> None:
    options: dict[str, Any] = {"schedule": NEW_YEAR, "metadata": mark}
    first = await client.crons.create("echo", **options)
    second = await client.crons.create("echo", enabled=False, **options)
    third = await client.crons.create_for_thread(thread_id, "chat", **options)
    ids = [cron["cron_id"] for cron in (first, second, third)]

    async def found(**query: Any) -> list[str]:
        crons = await client.crons.search(metadata=mark, **query)
        return [cron["cron_id"] for cron in crons]

    assert await found() == ids[::-1]
    assert await found(assistant_id=ECHO) == ids[1::-1]
    assert await found(thread_id=thread_id) == ids[2:]
    assert await found(enabled=False) == ids[1:2]
    assert await found(limit=1, offset=1) == ids[1:2]
    for sort_by in get_args(CronSortBy):
        assert set(await found(sort_by=sort_by, sort_order="asc")) == set(ids)
    assert await found(sort_by="created_at", sort_order="asc") == ids
    selected = await client.crons.search(
        metadata=mark, limit=1, select=["cron_id", "schedule"]
    )
    assert selected == [{"cron_id": ids[2], "schedule": NEW_YEAR}]
    assert await client.crons.count(metadata=mark) == 3
    assert await client.crons.count(metadata=mark, assistant_id=ECHO) == 2
    assert await client.crons.count(thread_id=thread_id) == 1


async def test_every_field_can_be_selected(client: Any, mark: dict[str, str]) -> None:
    await client.crons.create("echo", schedule=NEW_YEAR, metadata=mark)
    fields = [name for name in get_args(CronSelectField) if name != "now"]

    (cron,) = await client.crons.search(metadata=mark, select=fields)

    assert set(cron) == set(fields)


async def test_a_cron_is_deleted(client: Any) -> None:
    cron = await client.crons.create("echo", schedule=NEW_YEAR)

    await client.crons.delete(cron["cron_id"])

    with pytest.raises(NotFoundError):
        await client.crons.delete(cron["cron_id"])
    with pytest.raises(NotFoundError, match="not found"):
        await client.crons.update(cron["cron_id"], enabled=True)


async def test_errors_have_their_class(client: Any, mark: dict[str, str]) -> None:
    unknown = str(uuid.uuid4())
    cron = await client.crons.create("echo", schedule=NEW_YEAR)

    with pytest.raises(UnprocessableEntityError, match="schedule: "):
        await client.crons.create("echo", schedule="0 25 * * *")
    with pytest.raises(UnprocessableEntityError, match="timezone: "):
        await client.crons.create("echo", schedule=NEW_YEAR, timezone="Mars")
    with pytest.raises(NotFoundError):
        await client.crons.create(unknown, schedule=NEW_YEAR)
    with pytest.raises(NotFoundError):
        await client.crons.create_for_thread(unknown, "echo", schedule=NEW_YEAR)
    with pytest.raises(BadRequestError, match="Request body cannot be empty"):
        await client.crons.update(cron["cron_id"])
    with pytest.raises(UnprocessableEntityError):
        await client.crons.search(assistant_id="echo")
    with pytest.raises(UnprocessableEntityError):
        await client.crons.search(select=["now"])


async def test_a_cron_makes_runs_of_its_thread(client: Any, thread_id: str) -> None:
    cron = await client.crons.create_for_thread(
        thread_id,
        "echo",
        schedule="* * * * * *",
        input=HI,
        metadata={"kind": "tick"},
    )
    async with asyncio.timeout(WAIT_SECS):
        while not (runs := await client.runs.list(thread_id, status="success")):
            await asyncio.sleep(0.2)
    await client.crons.update(cron["cron_id"], enabled=False)

    state = await client.threads.get_state(thread_id)
    assert state["values"]["messages"][1]["content"] == "echo: hi"
    assert runs[-1]["metadata"]["kind"] == "tick"
    configurable = runs[-1]["kwargs"]["config"]["configurable"]
    assert configurable["cron_id"] == cron["cron_id"]
