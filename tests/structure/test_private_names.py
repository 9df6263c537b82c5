"""Undocumented names of libraries: each is used in one module only, and checked.

`make test-newest` runs this with the newest version of every library.
"""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from celery.app.amqp import AMQP
from django.http import StreamingHttpResponse
from kombu import Connection
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.pregel import Pregel
from langgraph_sdk import Auth, Priority
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from spool.config.celery import Broker, EagerConnection
from spool.tests.live import ROOT

# Our module -> the names that it uses from a library, as `module:name.attribute`.
USED = {
    "access/handlers.py": [
        "langgraph_sdk:Auth()._authenticate_handler",
        "langgraph_sdk:Auth()._handlers",
        "langgraph_sdk:Auth()._global_handlers",
    ],
    "assistants/factories.py": [
        "langgraph_sdk.runtime:_ExecutionRuntime",
        "langgraph_sdk.runtime:_ReadRuntime",
    ],
    "console/operations.py": ["django.contrib.admin:site._registry"],
    "embedded/programs.py": ["atexit:_run_exitfuncs"],
    "protocols/event_streaming/normalising.py": [
        "langchain_core._api:LangChainBetaWarning"
    ],
    "runs/priority.py": ["langgraph_sdk:Priority()._assign_handler"],
    "runs/worker/watchdog.py": ["sys:_current_frames"],
    "threads/checkpoints.py": ["langgraph.checkpoint.serde.types:_DeltaSnapshot"],
    "web/handler.py": [
        "django.http:StreamingHttpResponse()._iterator",
        "django.http:StreamingHttpResponse()._resource_closers",
    ],
    "web/inside.py": [
        "langgraph_sdk:_async",
        "langgraph_sdk._async.client:_registered_transports",
        "langgraph_sdk._async.client:get_asgi_transport",
    ],
}
# The SDK's priorities are in beta.
pytestmark = pytest.mark.filterwarnings("ignore:The Priority API is in beta")

# Names that Python, Django and REST framework document in spite of the underscore.
DOCUMENTED = {"_exit", "_meta", "_state", "_request", "_replace", "_asdict", "_fields"}
PARTS = sorted(path.parent for path in ROOT.glob("*/__init__.py"))
OUTSIDE = {"tests", "bench", "examples"}


def files() -> list[Path]:
    return [
        file
        for part in PARTS
        if part.name not in OUTSIDE
        for file in part.rglob("*.py")
        if "tests" not in file.parts
    ]


def parsed(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text())))


def ours() -> set[str]:
    """The private names that our modules define themselves."""
    nodes = [node for file in files() for node in parsed(file)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return (
        {node.name for node in nodes if isinstance(node, kinds)}
        | {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        | {
            node.target.id
            for node in nodes
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
    )


def private(names: list[str]) -> set[str]:
    return {name for name in names if name.startswith("_") and name[:2] != "__"}


def taken(file: Path) -> set[str]:
    """The private names of libraries that a module reads or imports."""
    found: set[str] = set()
    for node in parsed(file):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found |= private([node.attr])
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(
            "spool"
        ):
            found |= private([alias.name for alias in node.names])
    return found


def test_private_names_of_libraries_are_watched() -> None:
    known = {
        file: {path.rpartition(".")[2].rpartition(":")[2] for path in paths}
        for file, paths in USED.items()
    }
    defined = ours()

    unwatched = {
        str(file.relative_to(ROOT)): names
        for file in files()
        if (
            names := taken(file)
            - defined
            - DOCUMENTED
            - known.get(str(file.relative_to(ROOT)), set())
        )
    }

    assert unwatched == {}


@pytest.mark.parametrize(
    ("file", "path"), [(file, path) for file, paths in USED.items() for path in paths]
)
def test_the_library_still_has_it(file: str, path: str) -> None:
    module, _, names = path.partition(":")
    found: Any = import_module(module)
    for name in names.split("."):
        found = getattr(found, name.removesuffix("()"))
        found = found() if name.endswith("()") else found

    assert names.rpartition(".")[2] in (ROOT / file).read_text()


def test_handlers_of_the_sdk_are_kept_as_lists_by_resource_and_action() -> None:
    auth, priority = Auth(), Priority()

    @auth.authenticate
    async def authenticate() -> str:
        return "alice"

    @auth.on.threads.create
    async def create(ctx: Any, value: Any) -> None: ...

    @auth.on
    async def other(ctx: Any, value: Any) -> None: ...

    assert auth._authenticate_handler is authenticate
    assert auth._handlers[("threads", "create")][-1] is create
    assert auth._global_handlers[-1] is other
    assert priority._assign_handler is None


def test_the_saver_takes_what_ours_overrides() -> None:
    for name in ("aget_tuple", "aput", "aput_writes", "aprune"):
        assert inspect.iscoroutinefunction(getattr(AsyncPostgresSaver, name))
    given = list(inspect.signature(AsyncPostgresSaver.aput).parameters)
    assert given == ["self", "config", "checkpoint", "metadata", "new_versions"]
    given = list(inspect.signature(AsyncPostgresSaver.aput_writes).parameters)
    assert given == ["self", "config", "writes", "task_id", "task_path"]


def test_graphs_have_the_channels_that_schemas_and_states_are_made_of() -> None:
    for name in ("stream_channels_list", "get_subgraphs", "astream_events"):
        assert hasattr(Pregel, name)
    # Set by its constructor.
    for name in ("channels", "output_channels", "context_schema"):
        assert name in Pregel.__annotations__


def test_the_protocol_of_uvicorn_calls_what_ours_overrides() -> None:
    for name in (
        "connection_made",
        "connection_lost",
        "data_received",
        "on_message_begin",
        "on_headers_complete",
        "on_message_complete",
        "handle_websocket_upgrade",
        "send_400_response",
        "shutdown",
    ):
        assert callable(getattr(HttpToolsProtocol, name))
    made = inspect.getsource(HttpToolsProtocol)
    for name in ("self.cycle", "self.flow", "self.transport", "self.loop"):
        assert name in made


def test_the_protocol_of_websockets_keeps_what_ours_clears() -> None:
    assert callable(WebSocketsSansIOProtocol.start_keepalive)
    made = inspect.getsource(WebSocketsSansIOProtocol)
    for name in ("self.request = event", "self.response = self.conn.accept(event)"):
        assert name in made
    assert "self.start_keepalive()" in inspect.getsource(WebSocketsSansIOProtocol.send)


def test_celery_connects_as_our_broker_says() -> None:
    given = inspect.signature(Connection._ensure_connection).parameters

    assert {"interval_start", "interval_step", "interval_max"} <= given.keys()
    assert issubclass(EagerConnection, AMQP.Connection)
    assert Broker.Connection is EagerConnection


def test_a_stream_of_django_keeps_its_iterator() -> None:
    async def parts() -> Any:
        yield b""

    made: Any = StreamingHttpResponse(body := parts())

    assert made._iterator is body
