"""Detects a graph that blocks the event loop, and logs the node that does."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType

logger = logging.getLogger(__name__)

# How often the loop is checked, and how late it may respond, in seconds.
INTERVAL = 1.0
TIMEOUT_SECS = 2.0


class Watchdog:
    """A thread that checks that one loop responds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answered = threading.Event()
        self._loop_thread = 0

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while not self._loop.is_closed():
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # The loop was closed in the meantime.
                return
            if not self._answered.wait(TIMEOUT_SECS) and self._loop_thread:
                self._report()
                started = time.monotonic() - TIMEOUT_SECS
                self._answered.wait()
                logger.warning(
                    "the event loop was blocked for %.0f s", time.monotonic() - started
                )
            time.sleep(INTERVAL)

    def _answer(self) -> None:
        self._loop_thread = threading.get_ident()
        self._answered.set()

    def _report(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)[-12:]) if frame else ""
        logger.warning(
            "%s blocks the event loop; other runs of this worker wait. Make it "
            "asynchronous, or set BG_JOB_ISOLATED_LOOPS=true.\n%s",
            _node(frame),
            stack,
        )


def _node(frame: FrameType | None) -> str:
    """The node that the loop runs, from langgraph's config in a local of some frame."""
    while frame is not None:
        config = frame.f_locals.get("config")
        metadata = config.get("metadata") if isinstance(config, dict) else None
        if metadata and "langgraph_node" in metadata:
            return (
                f"node {metadata['langgraph_node']!r} of run {metadata.get('run_id')}"
            )
        frame = frame.f_back
    return "something"
