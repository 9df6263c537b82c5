from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistants.graphs import registry
from assistants.models import Assistant
from assistants.services import register_system_assistants
from config.langgraph_json import langgraph_json

EXAMPLES = Path(__file__).resolve().parents[2] / "langgraph.json"


def forget_config() -> None:
    langgraph_json.cache_clear()
    registry.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def _examples() -> Iterator[None]:
    """A server with the example graphs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", EXAMPLES)
        forget_config()
        yield
    forget_config()


@pytest.fixture
def system_assistant(db: None) -> Assistant:
    register_system_assistants()
    return Assistant.objects.get(is_system=True, graph_id="chat")
