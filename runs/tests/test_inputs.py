from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.tracers import LangChainTracer
from langsmith import Client
from langsmith.utils import get_env_var

from spool.runs.lifecycle import Claim
from spool.runs.models import Run
from spool.runs.run_request import RunKwargs
from spool.runs.worker.inputs import graph_config

pytestmark = pytest.mark.django_db
TRACING = {"project_name": "mine", "example_id": str(uuid4())}


def held(run: Run) -> Claim:
    """The run as a worker that has claimed it knows it."""
    return Claim(
        id=run.id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        graph_id=run.graph_id,
        metadata=run.metadata,
        kwargs=RunKwargs.from_json(run.kwargs),
        is_temporary=run.is_temporary,
        owner=run.owner,
        user=run.user,
        attempt=1,
        cancel_action=None,
        thread_created_at=run.thread.created_at,
        api_key_id=None,
        revision="",
        created_at=run.created_at,
        claimed_at=run.created_at,
    )


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Turn on tracing as an operator does, with a client that sends nothing."""
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    client = Client("http://127.0.0.1:9", api_key="none", auto_batch_tracing=False)
    monkeypatch.setattr("langchain_core.tracers.langchain.get_client", lambda: client)
    forget_environment: Any = get_env_var
    forget_environment.cache_clear()
    yield
    forget_environment.cache_clear()


@pytest.mark.usefixtures("tracing")
def test_a_trace_goes_to_the_project_that_was_asked_for(
    make_run: Callable[..., Run],
) -> None:
    config = graph_config(held(make_run(langsmith_tracer=TRACING)))

    tracers: Any = config["callbacks"]
    assert [type(tracer) for tracer in tracers] == [LangChainTracer]
    assert tracers[0].project_name == "mine"
    assert str(tracers[0].example_id) == TRACING["example_id"]


def test_without_tracing_nothing_is_sent_anywhere(make_run: Callable[..., Run]) -> None:
    config = graph_config(held(make_run(langsmith_tracer=TRACING)))

    assert "callbacks" not in config


def test_what_only_the_server_may_say_is_not_taken_from_clients(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(
        config={
            "configurable": {
                "thread_id": "other",
                "user_id": "root",
                "langgraph_auth_user": {"identity": "root"},
                "__pregel_strict_resume": True,
                "mine": 1,
            },
            "metadata": {"run_id": "other", "purpose": "test"},
        }
    )

    config = graph_config(held(run))

    configurable = config["configurable"]
    assert configurable["mine"] == 1
    assert configurable["thread_id"] == str(run.thread_id)
    assert configurable["user_id"] == "root"  # The client may set it.
    assert configurable["langgraph_auth_user"] is None
    assert configurable["langgraph_auth_user_id"] == ""
    assert "__pregel_strict_resume" not in configurable
    assert config["metadata"]["purpose"] == "test"
    assert config["metadata"]["run_id"] == str(run.id)


def test_nulls_in_a_config_mean_the_default(make_run: Callable[..., Run]) -> None:
    run = make_run(config={"tags": None, "configurable": None, "metadata": None})

    config = graph_config(held(run))

    assert "tags" not in config
