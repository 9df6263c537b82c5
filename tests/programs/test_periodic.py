from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from celery.signals import beat_init, celeryd_init
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

import spool.programs.beat  # noqa: F401 - connects the schedule
from spool.config.langgraph_json import langgraph_json
from spool.database.tests.together import at_once
from spool.periodic import TASKS, ensure_periodic_tasks
from spool.threads.ttl import TTLConfig

pytestmark = pytest.mark.django_db


def test_beat_finds_its_tasks_when_it_starts() -> None:
    beat_init.send(sender=object())

    tick = PeriodicTask.objects.get(task="crons.tasks.tick")
    assert tick.enabled
    assert tick.schedule.run_every == timedelta(seconds=1)
    assert tick.expire_seconds == 60
    assert PeriodicTask.objects.count() == len(TASKS)


def test_every_task_exists_once_whatever_operators_did() -> None:
    IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    ensure_periodic_tasks()
    edited = PeriodicTask.objects.get(name="crons: tick")
    edited.enabled = False
    edited.expire_seconds = 3
    edited.name = "fire"
    edited.save()
    PeriodicTask.objects.filter(name="runs: tick").delete()

    ensure_periodic_tasks()

    edited.refresh_from_db()
    assert (edited.enabled, edited.expire_seconds) == (False, 3)
    assert PeriodicTask.objects.count() == len(TASKS)


def test_a_row_that_an_operator_gave_another_task_stays() -> None:
    ensure_periodic_tasks()
    PeriodicTask.objects.filter(name="runs: sweep").update(task="theirs.task")

    ensure_periodic_tasks()

    assert PeriodicTask.objects.get(name="runs: sweep").task == "theirs.task"
    assert PeriodicTask.objects.filter(task="runs.tasks.sweep").count() == 1


# The rows that the first version created: task -> interval in seconds.
FIRST_ROWS = {
    "crons.tasks.tick": ("crons: tick", 1),
    "runs.tasks.tick": ("runs: tick", 1),
    "runs.tasks.sweep": ("runs: sweep", 300),
    "threads.tasks.sweep": ("threads: sweep", 300),
    "crons.tasks.sweep": ("crons: sweep", 300),
    "store.tasks.sweep": ("store: sweep", 300),
}


def test_rows_of_an_older_version_are_neither_lost_nor_doubled() -> None:
    for task, (name, every) in FIRST_ROWS.items():
        schedule = IntervalSchedule.objects.create(
            every=every, period=IntervalSchedule.SECONDS
        )
        PeriodicTask.objects.create(name=name, task=task, interval=schedule)
    celeryd_init.send(sender="worker@here")

    ensure_periodic_tasks()

    tasks = list(PeriodicTask.objects.values_list("task", flat=True))
    known: Any = current_app.tasks
    assert len(tasks) == len(set(tasks))
    assert set(FIRST_ROWS) <= set(tasks) <= set(known)


@pytest.mark.django_db(transaction=True)
def test_beats_that_start_together_create_each_task_once() -> None:
    at_once([ensure_periodic_tasks] * 4)

    assert PeriodicTask.objects.count() == len(TASKS)
    assert IntervalSchedule.objects.count() == 2


def test_every_task_is_one_that_a_worker_knows() -> None:
    celeryd_init.send(sender="worker@here")

    known: Any = current_app.tasks
    assert [task for _, task, *_ in TASKS if task not in known] == []


def test_langgraph_json_says_how_often_threads_are_swept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ensure_periodic_tasks()
    ttl = TTLConfig(sweep_interval=timedelta(minutes=30))
    monkeypatch.setattr("spool.periodic.ttl_config", lambda: ttl)

    ensure_periodic_tasks()

    every = {task.task: task.interval.every for task in PeriodicTask.objects.all()}
    assert every["threads.tasks.sweep"] == 1800
    assert every["crons.tasks.sweep"] == 300


def test_langgraph_json_overrules_an_operators_other_kind_of_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ensure_periodic_tasks()
    sweep = PeriodicTask.objects.get(task="threads.tasks.sweep")
    sweep.interval, sweep.crontab = None, CrontabSchedule.objects.create(hour="3")
    sweep.save()
    ensure_periodic_tasks()
    sweep.refresh_from_db()
    assert sweep.schedule.hour == {3}

    ttl = TTLConfig(sweep_interval=timedelta(minutes=30))
    monkeypatch.setattr("spool.periodic.ttl_config", lambda: ttl)
    ensure_periodic_tasks()

    sweep.refresh_from_db()
    assert sweep.schedule.run_every == timedelta(minutes=30)


def test_the_store_is_swept_as_often_as_langgraph_json_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ensure_periodic_tasks()
    sweep = PeriodicTask.objects.get(task="store.tasks.sweep")
    assert sweep.schedule.run_every == timedelta(minutes=5)

    store = json.dumps({"ttl": {"sweep_interval_minutes": 0.5}})
    monkeypatch.setenv("LANGGRAPH_STORE", store)
    langgraph_json.cache_clear()
    ensure_periodic_tasks()

    langgraph_json.cache_clear()
    sweep.refresh_from_db()
    assert sweep.schedule.run_every == timedelta(seconds=30)


def test_workers_of_the_first_version_are_sent_no_task_that_they_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = ("new: sweep", "new.tasks.sweep", timedelta(minutes=1), "Something new.")
    monkeypatch.setattr("spool.periodic.TASKS", (*TASKS, new))
    ensure_periodic_tasks()

    queues = dict(PeriodicTask.objects.values_list("task", "queue"))

    router: Any = current_app.amqp.router
    assert queues["new.tasks.sweep"] == "spool.2"
    assert router.route({}, "new.tasks.sweep")["queue"].name == "spool.2"
    assert queues["runs.tasks.tick"] is None
    assert router.route({}, "runs.tasks.tick")["queue"].name == "spool"
    assert router.route({}, "runs.tasks.execute_run")["queue"].name == "spool.runs"
