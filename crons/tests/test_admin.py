from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from spool.crons import firing
from spool.crons.models import Cron, CronFiring
from spool.crons.services import database_now
from spool.crons.tests.conftest import MakeCron, MakeDue
from spool.periodic import ensure_periodic_tasks
from spool.runs.models import Run
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

LIST = "/admin/crons/cron/"


def page(cron: Cron) -> str:
    return reverse("admin:crons_cron_change", args=[cron.pk])


def choose(client: Client, action: str, *crons: Cron) -> str:
    """Run an action on crons in the admin's list; returns its message."""
    chosen = [str(cron.pk) for cron in crons]
    response = client.post(
        LIST,
        {"action": action, "_selected_action": chosen, "confirmed": "1"},
        follow=True,
    )
    return "; ".join(str(message) for message in response.context["messages"])


def listed(client: Client, query: str) -> set[Any]:
    response = client.get(f"{LIST}?{query}")
    assert response.status_code == 200
    return {cron.pk for cron in response.context["cl"].result_list}


def test_the_list_shows_how_each_cron_does(
    admin_client: Client, make_cron: MakeCron
) -> None:
    cron = make_cron(schedule="0 9 * * 1")
    Cron.objects.update(missed=17)
    CronFiring.objects.create(
        cron=cron, fired_at=database_now() - timedelta(hours=1), status="success"
    )
    CronFiring.objects.create(cron=cron, status="timeout")

    response = admin_client.get(LIST)

    text = response.content.decode()
    assert "0 9 * * 1" in text
    assert "17" in text
    assert "timeout" in text
    assert "success" not in text.split("result_list")[1]


def test_the_list_asks_no_more_for_more_crons(
    admin_client: Client, make_cron: MakeCron, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        make_cron()
    admin_client.get(LIST)

    # Three queries: the session, its user, and the crons.
    with django_assert_num_queries(3):
        admin_client.get(LIST)


def test_the_list_is_searched_and_filtered(
    admin_client: Client, make_cron: MakeCron, thread: Thread
) -> None:
    fine = make_cron(schedule="0 9 * * 1")
    failing, disabled = make_cron(), make_cron()
    on_thread = make_cron(thread)
    CronFiring.objects.create(cron=failing, status="error")
    Cron.objects.filter(pk=fine.pk).update(missed=1)
    Cron.objects.filter(pk=on_thread.pk).update(next_run_date=database_now())
    Cron.objects.filter(pk=disabled.pk).update(enabled=False, disabled_reason="x")
    everything = {cron.pk for cron in (fine, failing, disabled, on_thread)}

    assert listed(admin_client, "") == everything
    assert listed(admin_client, "q=alice") == everything
    assert listed(admin_client, "q=0+9+*+*+1") == {fine.pk}
    assert listed(admin_client, f"q={thread.id}") == {on_thread.pk}
    assert listed(admin_client, f"q={failing.id}") == {failing.pk}
    assert listed(admin_client, f"q={fine.assistant_id}") == everything
    assert listed(admin_client, "q=bob") == set()
    assert listed(admin_client, "trouble=failed") == {failing.pk}
    assert listed(admin_client, "trouble=missed") == {fine.pk}
    assert listed(admin_client, "trouble=disabled") == {disabled.pk}
    assert listed(admin_client, "trouble=overdue") == {on_thread.pk}
    assert listed(admin_client, "enabled__exact=0") == {disabled.pk}


def test_the_page_shows_the_newest_firings(
    admin_client: Client, make_cron: MakeCron
) -> None:
    cron = make_cron(schedule="30 9 * * *", input={"topic": "weather"})
    for number in range(25):
        CronFiring.objects.create(
            cron=cron,
            slot=database_now() - timedelta(minutes=number),
            fired_at=database_now() - timedelta(minutes=number),
            status="error",
            error=f"failure-{number:02}.",
        )

    text = admin_client.get(page(cron)).content.decode()

    assert "At 09:30 every day" in text
    assert "weather" in text
    assert "failure-00." in text
    assert "failure-19." in text
    assert "failure-20." not in text
    [earlier] = re.findall(r"\?before=[0-9a-f-]+", text)
    second = admin_client.get(f"{page(cron)}{earlier}").content.decode()
    assert "failure-19." not in second
    assert "failure-20." in second
    assert "failure-24." in second
    assert "?before=" not in second


def test_an_operator_pauses_and_resumes(
    admin_client: Client, alice_client: Any, make_cron: MakeCron
) -> None:
    cron, other = make_cron(), make_cron()

    told = choose(admin_client, "pause", cron)
    paused = alice_client.call("get", f"/runs/crons/{cron.id}").json()
    choose(admin_client, "resume", cron)
    resumed = alice_client.call("get", f"/runs/crons/{cron.id}").json()

    assert told == "1 cron: paused."
    assert (paused["enabled"], paused["next_run_date"]) == (False, None)
    assert paused["disabled_reason"] == "paused by an operator"
    assert resumed["next_run_date"] > database_now().isoformat()
    assert (resumed["enabled"], resumed["disabled_reason"]) == (True, None)
    other.refresh_from_db()
    assert other.enabled


def test_pausing_keeps_an_earlier_reason(
    admin_client: Client, make_cron: MakeCron
) -> None:
    cron = make_cron(enabled=False)
    Cron.objects.update(disabled_reason="Thread x is gone")

    choose(admin_client, "pause", cron)

    cron.refresh_from_db()
    assert cron.disabled_reason == "Thread x is gone"


def test_what_is_gone_can_neither_be_resumed_nor_run(
    admin_client: Client, make_cron: MakeCron, thread: Thread
) -> None:
    good, bad = make_cron(enabled=False), make_cron(thread, enabled=False)
    thread.delete()

    resumed = choose(admin_client, "resume", good, bad)
    run = choose(admin_client, "run_now", good, bad)

    assert "Thread or assistant not found." in resumed
    assert "1 cron: resumed." in resumed
    assert "Thread or assistant not found." in run
    assert "1 cron: run now." in run
    assert Run.objects.count() == 1
    bad.refresh_from_db()
    assert not bad.enabled


def test_an_operator_runs_a_cron_from_its_page(
    admin_client: Client, make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(input={"a": 1})
    make_due(cron)

    response = admin_client.post(f"{LIST}{cron.pk}/operations/run_now/")

    assert response.status_code == 302
    assert response.headers["Location"] == page(cron)
    run = Run.objects.get()
    assert run.kwargs["input"] == {"a": 1}
    link = reverse("admin:runs_run_change", args=[run.pk])
    assert link in admin_client.get(page(cron)).content.decode()
    assert admin_client.get(link).status_code == 200
    assert CronFiring.objects.get().slot is None
    # The slot still fires.
    assert firing.fire_due() == 1


def test_a_form_changes_nothing(admin_client: Client, make_cron: MakeCron) -> None:
    make_cron()
    before = Cron.objects.values().get()

    form = {"schedule": "@daily", "enabled": "", "missed": 5, "_save": ""}
    management = {"firings-TOTAL_FORMS": 0, "firings-INITIAL_FORMS": 0}
    admin_client.post(page(Cron.objects.get()), {**form, **management})
    added = admin_client.get(f"{LIST}add/")

    assert Cron.objects.values().get() == before
    assert added.status_code == 403


def test_crons_are_deleted_with_their_firings(
    admin_client: Client, make_cron: MakeCron
) -> None:
    one, two = make_cron(), make_cron()
    for cron in (one, two):
        CronFiring.objects.create(cron=cron, status="success")
    path = reverse("admin:crons_cron_operation", args=[one.pk, "delete"])

    asked = admin_client.get(path)
    deleted = admin_client.post(path)
    choose(admin_client, "delete", two)

    assert str(one) in asked.content.decode()
    assert deleted.status_code == 302
    assert not Cron.objects.exists()
    assert not CronFiring.objects.exists()


def test_who_may_only_look_can_do_nothing(client: Client, make_cron: MakeCron) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_cron"))
    client.force_login(looker)
    cron = make_cron()

    seen = client.get(page(cron))
    choose(client, "pause", cron)

    assert seen.status_code == 200
    assert "/operations/" not in seen.content.decode()
    cron.refresh_from_db()
    assert cron.enabled


def test_an_operators_edit_of_a_periodic_task_stays(admin_client: Client) -> None:
    ensure_periodic_tasks()
    task = PeriodicTask.objects.get(task="crons.tasks.tick")
    slower = IntervalSchedule.objects.create(every=2, period=IntervalSchedule.SECONDS)
    path = reverse("admin:django_celery_beat_periodictask_change", args=[task.pk])
    form = {
        "name": "Fire crons",
        "task": task.task,
        "regtask": "",
        "interval": slower.pk,
        "enabled": "",
        "args": "[]",
        "kwargs": "{}",
        "headers": "{}",
        "expire_seconds": "7",
    }

    shown = admin_client.get(path)
    saved = admin_client.post(path, form)
    ensure_periodic_tasks()

    assert shown.status_code == 200
    assert saved.status_code == 302
    task.refresh_from_db()
    assert (task.name, task.interval, task.enabled) == ("Fire crons", slower, False)
    assert task.expire_seconds == 7
    assert PeriodicTask.objects.filter(task="crons.tasks.tick").count() == 1


@pytest.mark.parametrize(
    "model",
    [
        "periodictask",
        "intervalschedule",
        "crontabschedule",
        "clockedschedule",
        "solarschedule",
    ],
)
def test_the_pages_of_beat_open(admin_client: Client, model: str) -> None:
    ensure_periodic_tasks()

    assert admin_client.get(f"/admin/django_celery_beat/{model}/").status_code == 200
    add = admin_client.get(f"/admin/django_celery_beat/{model}/add/")
    assert add.status_code == 200
