from __future__ import annotations

from functools import partial

import pytest

from spool.access.policy import EVERYTHING
from spool.assistants.assistant_request import AssistantChanges, NewAssistant
from spool.assistants.models import Assistant, AssistantVersion
from spool.assistants.services import (
    create_assistant,
    delete_assistant,
    update_assistant,
)
from spool.database.tests.locks import answer_behind
from spool.database.tests.together import at_once

MANY = 30


@pytest.mark.django_db(transaction=True)
def test_parallel_updates_make_a_version_each_and_lose_no_key() -> None:
    assistant = create_assistant(EVERYTHING, NewAssistant("echo"))

    def change(number: int) -> int:
        changed = update_assistant(
            Assistant.objects.visible_to(EVERYTHING),
            assistant.id,
            AssistantChanges(metadata={f"key{number}": number}),
        )
        assert changed is not None
        return changed.version

    versions = at_once([partial(change, number) for number in range(MANY)])

    assistant.refresh_from_db()
    assert sorted(versions) == list(range(2, MANY + 2))
    assert assistant.version == MANY + 1
    assert assistant.versions.count() == MANY + 1
    assert assistant.metadata == {f"key{number}": number for number in range(MANY)}


@pytest.mark.django_db(transaction=True)
def test_an_assistant_goes_with_the_version_that_is_just_being_made() -> None:
    assistant = create_assistant(EVERYTHING, NewAssistant("echo"))
    every = Assistant.objects.visible_to(EVERYTHING)

    answer_behind(
        lambda: update_assistant(every, assistant.id, AssistantChanges()),
        lambda: delete_assistant(every, assistant.id),
    )

    assert not Assistant.objects.filter(pk=assistant.pk).exists()
    assert not AssistantVersion.objects.filter(assistant_id=assistant.pk).exists()
