"""Fills the hooks: what lower parts of Spool need of higher ones, in one place."""

from __future__ import annotations

from spool.access.views import authenticated_user
from spool.assistants import hooks as assistants_hooks
from spool.config.hook import Hook
from spool.runs.services import delete_runs_of
from spool.runs.worker.inputs import config_of_newest_run
from spool.threads import hooks as threads_hooks
from spool.threads.services import delete_threads_of_assistant
from spool.web import hooks as web_hooks


def fill() -> None:
    """Called by every program that serves, executes or changes something."""
    web_hooks.authenticate.fill(authenticated_user)
    assistants_hooks.delete_threads_of.fill(delete_threads_of_assistant)
    threads_hooks.delete_runs_of.fill(delete_runs_of)
    threads_hooks.config_of_newest_run.fill(config_of_newest_run)
    Hook.are_filled = True
