"""The users of the console and their groups."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import admin as auth
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from spool.console.reasons import ReasonedAdmin


class UserAdmin(auth.UserAdmin, ReasonedAdmin):  # type: ignore[type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "its_groups", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_superuser", "groups")

    @display(description="groups")
    def its_groups(self, user: User) -> str:
        if user.is_superuser:
            return "may do everything"
        return ", ".join(group.name for group in user.groups.all()) or "-"

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = super().get_queryset(request)
        return users.prefetch_related("groups")


class GroupAdmin(auth.GroupAdmin, ReasonedAdmin):  # type: ignore[misc]
    pass


DRESSED = {User: UserAdmin, Group: GroupAdmin}

admin.site.unregister(DRESSED)
for model, model_admin in DRESSED.items():
    admin.site.register(model, model_admin)
