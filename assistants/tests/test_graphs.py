"""Graphs in every form that langgraph.json supports."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from langgraph.checkpoint.memory import InMemorySaver

from spool.assistants import graphs
from spool.assistants.graphs import GraphNotFound, NotAGraph, Registry
from spool.config.langgraph_schema import GraphEntry
from spool.config.user_objects import load_object

SOURCE = """
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypedDict
from langchain_core.runnables import RunnableConfig
from langgraph_sdk.runtime import ServerRuntime
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph

closed = []

class State(TypedDict):
    said: str

def made(said):
    graph = StateGraph(State)
    graph.add_node("say", lambda state: {"said": said})
    graph.add_edge(START, "say")
    return graph

compiled = made("compiled").compile()
named = made("named").compile(
    name="math", checkpointer=InMemorySaver(), store=InMemoryStore()
)
builder = made("builder")

@entrypoint()
def functional(value: dict) -> dict:
    return {"said": "functional"}

def factory():
    return made("factory")

def of_config(given, /):
    return made(given["configurable"]["word"]).compile()

async def asynchronous(config):
    return made("asynchronous")

@contextmanager
def manager():
    yield made("manager")
    closed.append("manager")

@asynccontextmanager
async def async_manager(config):
    yield made("async_manager").compile()
    closed.append("async_manager")

async def generator():
    yield made("generator")
    closed.append("generator")

def sync_generator():
    yield made("sync_generator")
    closed.append("sync_generator")

@dataclass
class Words:
    word: str = ""

class Maker:
    def __call__(self, config: RunnableConfig):
        return made(config["configurable"]["word"])

def of_runtime(runtime: ServerRuntime[Words]):
    running = runtime.execution_runtime
    return made(f"{runtime.access_context} {running and running.context.word}")

@asynccontextmanager
async def of_both(rt: "ServerRuntime", *, given: RunnableConfig | None = None, n: int = 5):
    yield made(f"{rt.ensure_user().identity} {given['configurable']['word']} {n}")

def of_names(n=5, runtime=None, config: dict = {}):
    return made(f"{runtime.store} {config['configurable']['word']}")

def with_default(model: str = "with_default"):
    return made(model)

of_object = Maker()

def of_two(config, model):
    return made(model)

def of_two_others(model, config):
    return made(model)

def no_graph():
    return 5
"""


@pytest.fixture
def home(tmp_path: Path, settings: LazySettings) -> Path:
    settings.LANGGRAPH_CONFIG = tmp_path / "langgraph.json"
    (tmp_path / "agent.py").write_text(SOURCE)
    return tmp_path


def test_a_graph_goes_by_its_id_and_by_its_own_name(home: Path) -> None:
    named = ("named", "compiled", "factory")
    registry = Registry({n: GraphEntry(path=f"./agent.py:{n}") for n in named})

    assert [registry.name(graph_id) for graph_id in named] == [
        "math",
        "compiled",
        "factory",
    ]
    assert (registry.find("named"), registry.find("math")) == ("named", "named")
    assert registry.find("LangGraph") is None


def test_what_a_graph_was_compiled_with_is_known(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    named = ("named", "compiled", "factory")
    registry = Registry({n: GraphEntry(path=f"./agent.py:{n}") for n in named})
    monkeypatch.setattr(graphs, "registry", lambda: registry)

    graphs.warn_of_replaced_parts()

    assert registry.bound_elsewhere() == [("named", "checkpointer"), ("named", "store")]
    assert caplog.messages == [
        f"graph named was compiled with a {part} of its own, which Spool's replaces"
        for part in ("checkpointer", "store")
    ]


def run(name: str) -> Any:
    registry = Registry({name: GraphEntry(path=f"./agent.py:{name}")})
    user = {"identity": "ann", "display_name": "Ann", "permissions": []}
    configurable = {"word": "word", "thread_id": "1", "langgraph_auth_user": user}
    config: Any = {"configurable": configurable}

    async def open_and_run() -> Any:
        opened = registry.open(
            name, config, context={"word": "context"}, checkpointer=InMemorySaver()
        )
        async with opened as graph:
            return await graph.ainvoke({"said": ""}, config)

    return asyncio.run(open_and_run())


@pytest.mark.parametrize(
    "name",
    [
        *("compiled", "builder", "functional", "factory", "with_default"),
        *("asynchronous", "manager", "async_manager", "generator", "sync_generator"),
    ],
)
def test_a_graph_in_each_form_runs(home: Path, name: str) -> None:
    assert run(name) == {"said": name}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("of_config", "word"),
        ("of_object", "word"),
        ("of_runtime", "threads.create_run context"),
        ("of_both", "ann word 5"),
        ("of_names", "None word"),
    ],
)
def test_a_factory_is_given_what_its_parameters_say(
    home: Path, name: str, said: str
) -> None:
    assert run(name) == {"said": said}


def test_who_only_looks_at_a_graph_executes_nothing(home: Path) -> None:
    registry = Registry({"seen": GraphEntry(path="./agent.py:of_runtime")})

    async def look() -> Any:
        async with registry.look_into("seen", {}, access="threads.read") as graph:
            return await graph.ainvoke({"said": ""}, {})

    assert asyncio.run(look()) == {"said": "threads.read None"}


@pytest.mark.parametrize("name", ["of_two", "of_two_others"])
def test_a_factory_with_unknown_parameters_stops_the_start(
    home: Path, name: str
) -> None:
    with pytest.raises(SystemExit, match="UnknownParameter: the parameter 'model'"):
        Registry({"two": GraphEntry(path=f"./agent.py:{name}")})


@pytest.mark.parametrize(
    "name", ["manager", "async_manager", "generator", "sync_generator"]
)
def test_what_a_graph_needs_is_closed_after_it(home: Path, name: str) -> None:
    run(name)

    assert load_object("agent.py:closed") == [name]


def test_what_a_factory_makes_has_to_be_a_graph(home: Path) -> None:
    with pytest.raises(NotAGraph, match="int is not a LangGraph graph"):
        run("no_graph")


def test_an_unknown_graph(home: Path) -> None:
    async def open_it() -> None:
        async with Registry({}).open("unknown", {}):
            pass

    with pytest.raises(GraphNotFound, match="'unknown' is not in"):
        asyncio.run(open_it())


def test_who_asks_for_a_file_while_it_is_loaded_waits(home: Path) -> None:
    """Threads with separate event loops all load it for their first run."""
    (home / "slow.py").write_text("import time\ntime.sleep(0.5)\nfound = 1\n")
    together = threading.Barrier(4)

    def load() -> Any:
        together.wait()
        return load_object("slow.py:found")

    with ThreadPoolExecutor(4) as pool:
        loading = [pool.submit(load) for _ in range(4)]
        found = [one.result() for one in loading]

    assert found == [1] * 4


def test_a_class_keeps_its_name_where_its_folder_is_moved(
    home: Path, tmp_path_factory: pytest.TempPathFactory, settings: LazySettings
) -> None:
    """Checkpoints store the names of the classes of their values."""
    here = load_object("./agent.py:State")
    there = tmp_path_factory.mktemp("there")
    (there / "agent.py").write_text(SOURCE)
    settings.LANGGRAPH_CONFIG = there / "langgraph.json"

    moved = load_object("agent.py:State")

    assert moved is not here
    assert moved.__module__ == here.__module__
