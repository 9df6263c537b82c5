from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from spool.console import thread_page
from spool.threads.models import Thread
from spool.threads.state import get_history, get_state
from spool.threads.thread_request import CheckpointRef
from spool.threads.updates import state_update, update_state

# Reading and writing a state takes other connections.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def talk(thread: Thread) -> Thread:
    """A thread with two states of the graph `echo`."""
    Thread.objects.filter(pk=thread.pk).update(
        metadata={"owner": "alice", "graph_id": "echo"}
    )
    for text in ("first", "second"):
        said = {"messages": [{"role": "user", "content": text}]}
        update_state(thread, [[state_update(said, "echo")]])
    thread.refresh_from_db()
    return thread


def url(name: str, thread: Thread) -> str:
    return reverse(f"admin:threads_thread_{name}", args=[thread.pk])


def text_of(client: Client, path: str, **query: Any) -> str:
    response = client.get(path, query)
    assert response.status_code == 200
    return response.content.decode()


def checkpoints(thread: Thread) -> list[str]:
    """Newest first."""
    states = get_history(thread, limit=10)
    return [str(state.config["configurable"]["checkpoint_id"]) for state in states]


def test_the_conversation_is_read_on_demand(admin_client: Client, talk: Thread) -> None:
    page = text_of(admin_client, url("change", talk))
    values = text_of(admin_client, url("values", talk))

    assert url("values", talk) in page
    assert "second" not in page
    assert 'class="conversation"' in values
    assert "second" in values
    assert "The whole state" in values


def test_checkpoints_are_shown_and_compared(admin_client: Client, talk: Thread) -> None:
    newest, *_, oldest = checkpoints(talk)
    page = text_of(admin_client, url("change", talk))
    one = text_of(admin_client, url("state", talk), at=oldest)
    both = text_of(admin_client, url("state", talk), at=[newest, oldest])

    assert newest in page
    assert oldest in page
    assert "first" in one
    assert "second" not in one
    assert "second" in both
    assert 'class="added"' in both
    assert "same values" in text_of(
        admin_client, url("state", talk), at=[newest, newest]
    )


def test_earlier_checkpoints_are_added_to_the_list(
    admin_client: Client, talk: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_page, "PAGE", 1)
    newest, *earlier = checkpoints(talk)
    # A copy has the same parent, which becomes a fork point.
    update_state(talk, [[state_update(as_node="__copy__")]], CheckpointRef(newest))
    copy = checkpoints(talk)[0]

    page = text_of(admin_client, url("change", talk))
    more = text_of(admin_client, url("checkpoints", talk), before=copy)

    assert f'value="{copy}"' in page
    assert f'value="{newest}"' not in page
    assert f"{url('checkpoints', talk)}?before={copy}" in page
    # A thread can't be put back to its current checkpoint.
    assert page.count(">Put back<") == 0
    assert all(f'value="{one}"' in more for one in (newest, *earlier))
    assert more.count("fork point") == 1
    assert "from <span" in page
    assert "Earlier ones" not in more


def test_an_unknown_checkpoint_is_no_error_page(
    admin_client: Client, talk: Thread
) -> None:
    assert text_of(admin_client, url("state", talk), at="nothing")


def test_a_thread_is_put_back(admin_client: Client, talk: Thread) -> None:
    before = checkpoints(talk)
    path = f"/admin/threads/thread/{talk.pk}/operations/put_back/"

    asked = text_of(admin_client, path, checkpoint_id=before[-1])
    assert before[-1] in asked
    assert checkpoints(talk) == before
    admin_client.post(path, {"checkpoint_id": before[-1], "reason": "wrong answer"})

    assert set(before) < set(checkpoints(talk))
    assert [m["content"] for m in get_state(talk).values["messages"]] == ["first"]
    talk.refresh_from_db()
    assert [m["content"] for m in talk.values["messages"]] == ["first"]
    entry = LogEntry.objects.get(object_id=str(talk.pk))
    assert entry.change_message.endswith(": wrong answer")


def test_a_thread_is_forked(admin_client: Client, talk: Thread) -> None:
    oldest = checkpoints(talk)[-1]
    path = f"/admin/threads/thread/{talk.pk}/operations/fork/"

    response = admin_client.post(path, {"checkpoint_id": oldest})

    fork = Thread.objects.exclude(pk=talk.pk).get()
    assert response["Location"] == url("change", fork)
    assert [m["content"] for m in get_state(fork).values["messages"]] == ["first"]
    assert fork.owner == "alice"
    assert [m["content"] for m in get_state(talk).values["messages"]] == ["second"]


def test_a_busy_thread_is_left_as_it_is(admin_client: Client, talk: Thread) -> None:
    before = checkpoints(talk)
    Thread.objects.filter(pk=talk.pk).update(status="busy")
    path = f"/admin/threads/thread/{talk.pk}/operations/put_back/"

    told = admin_client.post(path, {"checkpoint_id": before[-1]}, follow=True)

    assert "run in flight" in str(*told.context["messages"])
    assert checkpoints(talk) == before


def test_a_viewer_can_neither_fork_nor_delete(
    client_of: Callable[..., Client], talk: Thread
) -> None:
    viewer = client_of("view_thread")
    page = text_of(viewer, url("change", talk))

    assert "/operations/" not in page
    for name in ("fork", "put_back", "delete"):
        path = f"/admin/threads/thread/{talk.pk}/operations/{name}/"
        assert viewer.post(path, {"checkpoint_id": "x"}).status_code == 403


def test_pages_have_few_queries(
    admin_client: Client, talk: Thread, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(20):
        text_of(admin_client, url("change", talk))
