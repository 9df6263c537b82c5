"""What operators can do with a cron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spool.console.operations import Operation, deletion
from spool.crons import firing, services
from spool.crons.models import Cron
from spool.crons.schedule import BadSchedule, BadTimezone
from spool.runs.models import Run
from spool.web.errors import BadRequest

BY_OPERATOR = "paused by an operator"


def _pause(cron: Cron, answers: dict[str, Any]) -> bool:
    services.pause(cron=cron, reason=BY_OPERATOR)
    return True


def _resume(cron: Cron, answers: dict[str, Any]) -> bool:
    _checked(lambda: services.resume(cron=cron))
    return True


def _run_now(cron: Cron, answers: dict[str, Any]) -> bool:
    # The run may be deleted with its thread before its page can be shown.
    run: Run = _checked(lambda: firing.run_now(cron=cron))
    return bool(run)


def _delete(cron: Cron, answers: dict[str, Any]) -> bool:
    services.delete_cron(cron)
    return True


def _checked(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (BadSchedule, BadTimezone) as exc:
        raise BadRequest(str(exc)) from None


CRON_OPERATIONS = (
    Operation(
        "pause", "Pause", _pause, done="paused", applies=lambda cron: cron.enabled
    ),
    Operation(
        "resume",
        "Resume",
        _resume,
        done="resumed",
        applies=lambda cron: not cron.enabled,
    ),
    Operation(
        "run_now",
        "Run now",
        _run_now,
        done="run now",
        warning="It fires once more, besides its schedule.",
    ),
    deletion(_delete, "Its firings are deleted, too; their runs stay."),
)
