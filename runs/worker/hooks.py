"""Functions of higher layers that the worker needs; set in `spool/hooks.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel

from spool.config.hook import Hook
from spool.runs.streaming.modes import Translator, WireEvent

# Runs a graph as `stream_graph` does, but yields the events of event streaming.
normalised_events: Hook[
    [Pregel[Any, Any, Any, Any], Any, RunnableConfig, Translator, dict[str, Any]],
    AsyncIterator[WireEvent],
] = Hook("spool.runs.worker.hooks.normalised_events")

# Sends the message that wakes a worker, with the id of any run.
wake: Hook[[UUID], None] = Hook("spool.runs.worker.hooks.wake")
