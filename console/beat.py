"""The admin pages of django-celery-beat, in the style of the others."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import current_app
from django.contrib import admin
from django.db import transaction
from django_celery_beat import admin as beat
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from spool.console.operations import OperatingAdmin, Operation
from spool.console.reasons import ReasonedAdmin
from spool.database.json import loads


def _enable(task: PeriodicTask, answers: dict[str, Any]) -> bool:
    return _switch(task, enabled=True)


def _disable(task: PeriodicTask, answers: dict[str, Any]) -> bool:
    return _switch(task, enabled=False, last_run_at=None)


def _switch(task: PeriodicTask, *, enabled: bool, **others: Any) -> bool:
    found = PeriodicTask.objects.filter(pk=task.pk).exclude(enabled=enabled)
    changed = found.update(enabled=enabled, **others)
    PeriodicTasks.update_changed()
    return bool(changed)


def _run_now(task: PeriodicTask, answers: dict[str, Any]) -> bool:
    send = partial(
        current_app.send_task,
        task.task,
        args=loads(task.args or "[]"),
        kwargs=loads(task.kwargs or "{}"),
        **({"queue": task.queue} if task.queue else {}),
    )
    transaction.on_commit(send)
    return True


TASK_OPERATIONS = (
    Operation(
        "enable",
        "Enable",
        _enable,
        done="enabled",
        left="it is enabled already",
        applies=lambda task: not task.enabled,
    ),
    Operation(
        "disable",
        "Disable",
        _disable,
        done="disabled",
        left="it is disabled already",
        destroys=True,
        warning="Spool's own tasks start runs, fire crons and delete what has expired: "
        "nothing of that happens while they are disabled.",
        applies=lambda task: task.enabled,
    ),
    Operation(
        "run_now",
        "Run now",
        _run_now,
        done="sent to a worker",
        warning="It runs once more, besides its schedule.",
    ),
)


class TaskSelectWidget(UnfoldAdminSelectWidget, beat.TaskSelectWidget):  # type: ignore[misc]
    pass


class PeriodicTaskForm(beat.PeriodicTaskForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = UnfoldAdminTextInputWidget()
        self.fields["regtask"].widget = TaskSelectWidget()


class PeriodicTaskAdmin(beat.PeriodicTaskAdmin, OperatingAdmin, ReasonedAdmin):  # type: ignore[misc]
    form = PeriodicTaskForm
    # The actions of django-celery-beat don't ask for a reason, and are not logged.
    actions = ()
    operations = TASK_OPERATIONS


class CrontabScheduleAdmin(beat.CrontabScheduleAdmin, ReasonedAdmin):  # type: ignore[misc]
    pass


class ClockedScheduleAdmin(beat.ClockedScheduleAdmin, ReasonedAdmin):  # type: ignore[misc]
    pass


DRESSED = {
    PeriodicTask: PeriodicTaskAdmin,
    CrontabSchedule: CrontabScheduleAdmin,
    ClockedSchedule: ClockedScheduleAdmin,
    IntervalSchedule: ReasonedAdmin,
    SolarSchedule: ReasonedAdmin,
}

admin.site.unregister(DRESSED)
for model, model_admin in DRESSED.items():
    admin.site.register(model, model_admin)
