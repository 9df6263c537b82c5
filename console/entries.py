"""Entries of the console's log: who did what to which row, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Act:
    """What a user of the console does to a row, or to an owner."""

    user_id: int
    model: type[Model]
    key: str
    name: str
    # The operation's label, such as `Cancel`.
    label: str
    reason: str
    deletes: bool = False
    # Whether the act writes in one transaction, on Django's connection.
    is_one_transaction: bool = True

    def log(self, do: Callable[[], Result], done: Callable[[Result], str]) -> Result:
        """Call `do`, and log the text of `done` for its result. Return the result.

        A false result is not logged. If the process is killed, both the act and the
        entry are stored, or neither. An act of several transactions is logged as
        unfinished before it begins.
        """
        if self.is_one_transaction:
            with transaction.atomic():
                result = do()
                if result:
                    self._write(done(result))
            return result
        entry = self._write(f"{self.label}: not finished")
        result = do()
        if result:
            entry.change_message = self._with_reason(done(result))
            entry.save(update_fields=["change_message"])
        else:
            entry.delete()
        return result

    def _write(self, text: str) -> LogEntry:
        return LogEntry.objects.create(
            user_id=self.user_id,
            content_type=ContentType.objects.get_for_model(self.model),
            object_id=self.key,
            object_repr=self.name[:200],
            action_flag=DELETION if self.deletes else CHANGE,
            change_message=self._with_reason(text),
        )

    def _with_reason(self, text: str) -> str:
        return with_reason(text, self.reason)


def with_reason(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def user_id_of(request: HttpRequest) -> int:
    return cast("int", request.user.pk)  # The site only admits users.
