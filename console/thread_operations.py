"""What operators can do with a thread."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from spool.console.operations import Operation, ReasonForm, deletion
from spool.database.json import loads
from spool.runs.models import Run
from spool.runs.repeats import answer_interrupt, continue_thread
from spool.threads.models import Thread
from spool.threads.services import copy_thread, delete_threads
from spool.threads.thread_request import CheckpointRef
from spool.threads.updates import state_update, update_state

# LangGraph's name for an update that copies a checkpoint.
COPY_NODE = "__copy__"


class CheckpointForm(ReasonForm):
    checkpoint_id = forms.CharField(widget=forms.HiddenInput)


class AnswerForm(ReasonForm):
    interrupt_id = forms.CharField(required=False, widget=forms.HiddenInput)
    answer = forms.CharField(
        widget=UnfoldAdminTextareaWidget,
        help_text='JSON, such as {"approved": true}; other text is sent as a string.',
    )

    field_order = ("answer", "reason")

    def clean_answer(self) -> Any:
        text = self.cleaned_data["answer"]
        try:
            return loads(text)
        except (ValueError, RecursionError):
            return text


def _answer(thread: Thread, answers: dict[str, Any]) -> Run:
    return answer_interrupt(thread, answers["answer"], answers["interrupt_id"] or None)


def _put_back(thread: Thread, answers: dict[str, Any]) -> bool:
    checkpoint = CheckpointRef(answers["checkpoint_id"])
    update_state(thread, [[state_update(as_node=COPY_NODE)]], checkpoint)
    return True


def _fork(thread: Thread, answers: dict[str, Any]) -> Thread | None:
    copy = copy_thread(thread, dict(thread.metadata))
    if copy is not None:
        _put_back(copy, answers)
    return copy


def _waits_for_nothing(thread: Thread) -> bool:
    """Whether the thread has stopped without an interrupt, such as at a breakpoint."""
    return thread.status == Thread.Status.INTERRUPTED and not thread.interrupts


def _continue(thread: Thread, answers: dict[str, Any]) -> Run | None:
    return continue_thread(thread) if _waits_for_nothing(thread) else None


PUT_BACK = Operation(
    "put_back",
    "Put the thread back",
    _put_back,
    done="put back to an earlier checkpoint",
    destroys=True,
    warning=(
        "The thread continues from a copy of this checkpoint. Nothing is deleted: the "
        "later ones stay in its history."
    ),
    form=CheckpointForm,
    in_list=False,
    on_page=False,
)
FORK = Operation(
    "fork",
    "Fork into a new thread",
    _fork,
    done="forked into a new thread",
    left="the thread is gone",
    warning="A new thread gets the history, and continues from this checkpoint.",
    form=CheckpointForm,
    in_list=False,
    on_page=False,
    # The update of the graph's state reads the copy on another connection.
    is_one_transaction=False,
)
ANSWER = Operation(
    "answer",
    "Answer",
    _answer,
    done="answered",
    form=AnswerForm,
    in_list=False,
    on_page=False,
)
CONTINUE = Operation(
    "continue",
    "Continue",
    _continue,
    done="continued",
    left="it does not wait to be continued",
    warning="A run without input executes the steps that are left.",
    in_list=False,
    applies=_waits_for_nothing,
)
DELETE = deletion(
    lambda thread, answers: delete_threads(Thread.objects.filter(pk=thread.pk)),
    "Its runs are cancelled, and deleted with its checkpoints and records.",
)
THREAD_OPERATIONS = (CONTINUE, ANSWER, PUT_BACK, FORK, DELETE)
