from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest
from django.conf import LazySettings

from spool.access.handlers import handlers
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import forget_graphs, serving, write_echo
from spool.web.cors import rules
from spool.web.handler import Application
from spool.web.mounting import mounted

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "langgraph.json"


def forget_config() -> None:
    forget_graphs()
    rules.cache_clear()
    handlers.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def _examples() -> Iterator[None]:
    """A server with the example graphs."""
    with serving(EXAMPLES, forget_config):
        yield


AUTH = """
from typing import Any
from langgraph_sdk import Auth

auth = Auth()
"""

Serve = Callable[..., None]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve one graph, `echo`, with these handlers (the text of a module) and sections."""

    def serve(auth: str = "", /, **sections: Any) -> None:
        if auth:
            (tmp_path / "auth.py").write_text(AUTH + dedent(auth))
            sections["auth"] = {"path": "./auth.py:auth", **sections.get("auth", {})}
        path = write_echo(tmp_path, **sections)
        monkeypatch.setattr("django.conf.settings.LANGGRAPH_CONFIG", path)
        forget_config()

    yield serve
    monkeypatch.undo()
    forget_config()


Open = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def open_server(settings: LazySettings) -> Open:
    """The ASGI application as langgraph.json says now."""
    settings.FORCE_SCRIPT_NAME, settings.STATIC_URL = None, "/static/"

    @asynccontextmanager
    async def open_server() -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app=mounted(Application))
        base = "http://spool.example"
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            yield client

    return open_server


@pytest.fixture
def system_assistant(db: None) -> Assistant:
    register_system_assistants()
    return Assistant.objects.get(is_system=True, graph_id="chat")
