"""The graphs of `langgraph.json`, as the official CLI loads them.

A graph is a compiled graph, a builder, a functional entrypoint, or a function that
builds one for each run: plain, asynchronous, or a context manager.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph_sdk.runtime import AccessContext

from spool.assistants import factories
from spool.assistants.factories import EXECUTION, BuildRequest, Factory
from spool.config.env import stop
from spool.config.langgraph_json import langgraph_json
from spool.config.langgraph_schema import GraphEntry
from spool.config.missing import install_hint
from spool.config.user_objects import load_object
from spool.web.errors import Unprocessable

logger = logging.getLogger(__name__)

Graph = Pregel[Any, Any, Any, Any]

# Time out factories, so that a slow remote service can't block a request.
BUILD_TIMEOUT_SECS = 30.0
# LangGraph's name for a graph without a name.
DEFAULT_NAME = "LangGraph"


class GraphNotFound(Exception):
    """No graph of this id is served: it was renamed, or removed from langgraph.json."""

    def __init__(self, graph_id: str) -> None:
        super().__init__(f"Graph {graph_id!r} is not in langgraph.json")


class GraphNotBuilt(Unprocessable):
    """A graph's factory raised an exception in a request that only reads the graph."""

    def __init__(self, graph_id: str, exc: BaseException) -> None:
        super().__init__(
            f"graph '{graph_id}' could not be built: {type(exc).__name__}: {exc}"
        )


class NotAGraph(TypeError):
    """The object named in langgraph.json, or its factory's result, is not a graph."""


class Resources(AsyncExitStack):
    """The resources that a factory has opened for one graph. Closing has a timeout."""

    def __init__(self, graph_id: str) -> None:
        super().__init__()
        self._graph_id = graph_id

    async def __aexit__(self, *raised: Any) -> bool | None:
        timeout = asyncio.timeout(BUILD_TIMEOUT_SECS)
        try:
            async with timeout:
                return await super().__aexit__(*raised)
        except TimeoutError:
            if not timeout.expired():
                raise
            # The graph has already done its work, so the caller gets no error.
            logger.error("Could not close the resources of graph %s", self._graph_id)
            return None


class Registry:
    """All graphs that are served, by id."""

    def __init__(self, given: Mapping[str, GraphEntry]) -> None:
        self._sources = {
            graph_id: _load(graph_id, entry.path) for graph_id, entry in given.items()
        }
        self._descriptions = {
            graph_id: entry.description for graph_id, entry in given.items()
        }

    @property
    def graph_ids(self) -> tuple[str, ...]:
        return tuple(self._sources)

    def description(self, graph_id: str) -> str | None:
        return self._descriptions.get(graph_id)

    def name(self, graph_id: str) -> str:
        """The graph's own name, or else its id."""
        source = self._sources[graph_id]
        own = "" if isinstance(source, Factory) else source.name
        return own if own and own != DEFAULT_NAME else graph_id

    def find(self, name: str) -> str | None:
        """The id of the graph with this id or name; None if there is no such graph."""
        if name in self._sources:
            return name
        named = (graph_id for graph_id in self._sources if self.name(graph_id) == name)
        return next(named, None)

    def bound_elsewhere(self) -> list[tuple[str, str]]:
        """Graphs with a store or a checkpointer of their own, which Spool replaces."""
        return [
            (graph_id, part)
            for graph_id, source in self._sources.items()
            if isinstance(source, Pregel)
            for part, kind in (
                ("checkpointer", BaseCheckpointSaver),
                ("store", BaseStore),
            )
            if isinstance(getattr(source, part), kind)
        ]

    def takes_config(self, graph_id: str) -> bool:
        """Whether the graph has a factory that may build another for each config."""
        source = self._sources[graph_id]
        return isinstance(source, Factory) and source.takes_config

    @asynccontextmanager
    async def open(
        self,
        graph_id: str,
        config: RunnableConfig,
        *,
        access: AccessContext = EXECUTION,
        context: Mapping[str, Any] | None = None,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        store: BaseStore | None = None,
    ) -> AsyncIterator[Graph]:
        """The graph, bound to this checkpointer and store. Its resources close on exit.

        Raises `GraphNotFound`, and whatever the graph's factory raises.
        """
        if graph_id not in self.graph_ids:  # May have any type: clients write metadata.
            raise GraphNotFound(graph_id)
        source = self._sources[graph_id]
        async with Resources(graph_id) as stack:
            graph = source
            if isinstance(graph, Factory):
                request = BuildRequest(config, access, store, context)
                graph = _as_graph(await graph.make(request, stack))
            bound = {"checkpointer": checkpointer, "store": store}
            yield graph.copy(update=bound)

    @asynccontextmanager
    async def look_into(
        self,
        graph_id: str,
        config: RunnableConfig,
        *,
        access: AccessContext,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        store: BaseStore | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Graph]:
        """As `open`, but raises `GraphNotBuilt` if the graph's factory fails."""
        opened = self.open(
            graph_id, config, access=access, checkpointer=checkpointer, store=store
        )
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout or BUILD_TIMEOUT_SECS):
                    graph = await stack.enter_async_context(opened)
            except GraphNotFound:
                raise
            except (Exception, SystemExit) as exc:
                logger.warning("Could not build graph %s", graph_id, exc_info=exc)
                raise GraphNotBuilt(graph_id, exc) from exc
            yield graph


def warn_of_replaced_parts() -> None:
    for graph_id, part in registry().bound_elsewhere():
        logger.warning(
            "graph %s was compiled with a %s of its own, which Spool's replaces",
            graph_id,
            part,
        )


@cache
def registry() -> Registry:
    """The graphs of the process, which stops with one line if an import fails."""
    return Registry(langgraph_json().graphs)


def _load(graph_id: str, reference: str) -> Graph | Factory:
    try:
        found = load_object(reference)
        graph = Factory(found) if _is_factory(found) else _as_graph(found)
    except (Exception, SystemExit) as exc:
        stop(
            f"graph {graph_id!r} ({reference}): {_where(exc)}{type(exc).__name__}: "
            f"{exc}"
            f"{install_hint(exc)}"
        )
    return graph


def _where(exc: BaseException) -> str:
    """The innermost line of the traceback in a file below langgraph.json's folder.

    For a graph from an installed package, it is the line in the graph's module.
    """
    if isinstance(exc, SyntaxError):
        return f"{exc.filename}:{exc.lineno}: "
    home = settings.LANGGRAPH_CONFIG.parent
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if frame.filename not in _LOADING and not frame.filename.startswith("<")
    ]
    beside = [
        frame
        for frame in frames
        if home in Path(frame.filename).parents
        and "site-packages" not in frame.filename
    ]
    shown = beside[-1:] or frames[:1]
    return "".join(f"{frame.filename}:{frame.lineno}: " for frame in shown)


_LOADING = {
    *(__file__, factories.__file__, importlib.__file__),
    inspect.getsourcefile(load_object),
}


def _is_factory(found: Any) -> bool:
    return callable(found) and not isinstance(found, (Pregel, StateGraph))


def _as_graph(found: Any) -> Graph:
    if isinstance(found, StateGraph):
        return found.compile()
    if isinstance(found, Pregel):
        return found
    raise NotAGraph(f"{type(found).__name__} is not a LangGraph graph")
