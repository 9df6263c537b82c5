"""The groups of the console: viewers look, operators repair, administrators do all.

`spool prepare` creates them, since Django's permissions exist only after `migrate`.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.db import transaction

from spool.console.models import PreparedGroup

# Apps whose rows an operator may see.
APPS = ("assistants", "threads", "runs", "store", "crons", "webhooks", "usage")
# What an operator may do in addition to viewing: see `console.operations`.
REPAIRS = frozenset(
    {
        "runs.change_run",
        "runs.change_worker",
        "runs.add_pause",
        "runs.delete_pause",
        "threads.change_thread",
        "threads.delete_thread",
        "assistants.change_assistant",
        "crons.change_cron",
        "webhooks.change_webhookdelivery",
        "store.change_storeitem",
        "store.delete_storeitem",
        "access.view_apikey",
        "admin.view_logentry",
    }
)
ADMIN_APPS = (*APPS, "access", "auth", "django_celery_beat")


def prepare_groups() -> None:
    """Create the groups, and update those that no administrator has changed.

    Idempotent.
    """
    every = {
        _name(one): one for one in Permission.objects.select_related("content_type")
    }
    views = {
        name
        for name, one in every.items()
        if one.content_type.app_label in APPS and one.codename.startswith("view_")
    }
    # Push configurations have secrets.
    views.discard("webhooks.view_pushconfig")
    admin = {n for n, one in every.items() if one.content_type.app_label in ADMIN_APPS}
    for name, wanted in (
        ("viewer", views),
        ("operator", views | REPAIRS),
        ("admin", admin | views | REPAIRS),
    ):
        _prepare(name, {n: every[n] for n in wanted if n in every})


@transaction.atomic
def _prepare(name: str, wanted: dict[str, Permission]) -> None:
    known, is_new = PreparedGroup.objects.select_for_update().get_or_create(name=name)
    if is_new:
        if Group.objects.filter(name=name).exists():
            return  # An administrator created it before the console had groups.
        known.group = Group.objects.create(name=name)
    elif known.group is None or _given(known.group) != set(known.permissions):
        return
    known.group.permissions.set(wanted.values())
    known.permissions = sorted(wanted)
    known.save()


def _given(group: Group) -> set[str]:
    return _names(group.permissions.select_related("content_type"))


def _names(permissions: Iterable[Permission]) -> set[str]:
    return {_name(permission) for permission in permissions}


def _name(permission: Permission) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"
