from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spool.access.tests.conftest import Open as Open
from spool.access.tests.conftest import open_server as open_server
from spool.access.tests.people import Client
from spool.assistants.tests.served import _system_assistants as _system_assistants
from spool.assistants.tests.served import graphs as graphs
from spool.config.langgraph_json import langgraph_json
from spool.protocols.a2a.tests.calling import Caller
from spool.runs.tests.conftest import Receiver as Receiver
from spool.runs.tests.conftest import here as here
from spool.runs.tests.conftest import receiver as receiver
from spool.runs.tests.conftest import webhook_config as webhook_config


@pytest.fixture
def alice_calls(alice_client: Client) -> Caller:
    return Caller(alice_client, "confirming")


@pytest.fixture
def bob_calls(bob_client: Client) -> Caller:
    return Caller(bob_client, "confirming")


@pytest.fixture
def http_options(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets `http` of langgraph.json, as the environment may."""

    def configure(**section: Any) -> None:
        monkeypatch.setenv("LANGGRAPH_HTTP", json.dumps(section))
        langgraph_json.cache_clear()

    yield configure
    monkeypatch.undo()
    langgraph_json.cache_clear()
