"""The permissions that `spool prepare` has given to the groups of the console."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.db import models

from spool.database.fields import JSONField


class PreparedGroup(models.Model):
    """A group that `prepare` created, and the permissions that it gave last.

    A group that still has exactly these gets the permissions of a new version; one that
    an administrator has changed or deleted stays as it is.
    """

    name = models.TextField(primary_key=True)
    # Null once an administrator has deleted the group.
    group = models.OneToOneField(Group, on_delete=models.SET_NULL, null=True)
    # As `app_label.codename`.
    permissions = JSONField(default=list)

    class Meta:
        db_table = "console_groups"

    def __str__(self) -> str:
        return self.name
