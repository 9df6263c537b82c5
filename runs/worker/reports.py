"""Reports an attempt: its span, and the log lines of its start and end."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

from spool.config import lazy
from spool.runs.lifecycle import Claim, Outcome
from spool.runs.worker.recorder import Recorder
from spool.telemetry import logs, traces
from spool.web import request_ids

# The log of runs has one name, whichever module writes to it.
logger = logging.getLogger("spool.runs.worker.executor")


def traced(held: Claim) -> AbstractContextManager[None]:
    if not traces.is_on():
        return nullcontext()
    traced: AbstractContextManager[None]
    traced = lazy.load("spool.runs.worker.spans", "of_attempt")(held)
    return traced


def end_trace(recorder: Recorder, outcome: Outcome) -> None:
    if not traces.is_on():
        return
    used = recorder.tokens
    about = {
        "spool.run.status": outcome.status or "rolled back",
        "gen_ai.usage.input_tokens": used.input,
        "gen_ai.usage.output_tokens": used.output,
    }
    error = outcome.error or {}
    message = f"{error.get('error')}: {error.get('message')}" if error else ""
    traces.annotate(about, message)


def begin_log(held: Claim) -> None:
    configurable = held.kwargs.config.get("configurable") or {}
    logs.begin(
        run_id=held.id,
        thread_id=held.thread_id,
        owner=held.identity,
        request_id=configurable.get(request_ids.IN_RUNS),
    )


def log_start(held: Claim) -> None:
    logger.info(
        "run started: graph %s, attempt %d, %.3f s after it was created",
        held.graph_id,
        held.attempt,
        (held.claimed_at - held.created_at).total_seconds(),
    )


def log_end(held: Claim, recorder: Recorder, outcome: str) -> None:
    logger.info(
        "run ended: %s, graph %s, attempt %d, %.3f s, %d tokens",
        outcome,
        held.graph_id,
        held.attempt,
        recorder.seconds,
        recorder.tokens.total,
    )
