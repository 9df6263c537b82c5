"""One `tools/call`: its run, and the runs that answer its interrupts.

If the client can ask its user, it gets the questions. In 2026-07-28 they are the
result, and the client calls again with the answers; before that they are requests in
the call's stream. Other clients get the open interrupts as the result. Cancelling a
call cancels its run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequests,
    InputRequiredResult,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from spool.database.json import dumps, loads
from spool.protocols.mcp import calls
from spool.protocols.mcp.callers import Context, view_request
from spool.protocols.mcp.calls import Asking, Failed, Outcome, Started
from spool.protocols.mcp.interrupts import (
    Content,
    RequestState,
    StaleState,
    question,
    sign,
    unsign,
)
from spool.protocols.mcp.progress import follow
from spool.protocols.mcp.sessions import can_elicit
from spool.protocols.mcp.tools import AssistantTool
from spool.web.errors import Unprocessable
from spool.web.http_protocol import server_is_stopping
from spool.web.thread_pool import database_threads

ToolResult = CallToolResult | InputRequiredResult

DECLINED = "The user declined to answer."


class Declined(Exception):
    """The client's user does not want to answer."""


class Dismissed(Exception):
    """The client's user has not answered, and may do so later."""


class ToolCall:
    def __init__(self, context: Context, tool: AssistantTool) -> None:
        self._context = context
        self._call = calls.Call(
            view_request(context),
            tool,
            shows_progress="progress_token" in (context.meta or {}),
        )
        self._is_modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        self._elicits = can_elicit(context.session.client_capabilities)

    async def run(self, params: CallToolRequestParams) -> ToolResult:
        if params.request_state is not None:
            state = _state(params.request_state)
            return await self._brought_back(state, params.input_responses or {})
        arguments = calls.read_arguments(self._call.tool, params.arguments or {})
        return await self._drive(partial(calls.start, self._call, arguments))

    async def _brought_back(
        self, state: RequestState, responses: Mapping[str, Any]
    ) -> ToolResult:
        """Continue with the answers to the questions of an earlier result."""
        try:
            contents = _contents(responses)
        except Declined:
            await database_threads.query(calls.give_up, self._call, state)
            return failed(DECLINED)
        except Dismissed:
            asking = await database_threads.query(calls.find_open, self._call, state)
            return _result(asking)
        return await self._drive(partial(calls.answer, self._call, state, contents))

    async def _drive(self, begin: Callable[[], Started]) -> ToolResult:
        """Start a run, and then the runs that answer its questions, up to a result."""
        while True:
            started = await self._begin(begin)
            try:
                outcome = await self._outcome(started)
                if not isinstance(outcome, Asking):
                    await database_threads.query(calls.clean_up, started)
                    return _result(outcome)
                if not self._elicits or not outcome.interrupts:
                    return _result(outcome)
                if self._is_modern:
                    return _input_required(outcome, self._state_of(outcome))
                contents = await self._ask(outcome)
            except Dismissed:
                return _result(outcome)
            except Declined:
                await database_threads.query(calls.clean_up, started)
                return failed(DECLINED)
            except asyncio.CancelledError:
                await self._abandon(started)
                raise
            state = self._state_of(outcome)
            begin = partial(calls.answer, self._call, state, contents)

    async def _begin(self, begin: Callable[[], Started]) -> Started:
        creating = asyncio.ensure_future(database_threads.query(begin))
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            # The transaction continues: the run may be created in a moment.
            with anyio.CancelScope(shield=True), suppress(Exception):
                await self._abandon(await creating)
            raise

    async def _outcome(self, started: Started) -> Outcome:
        report = self._context.session.report_progress
        await follow(started, report if self._call.shows_progress else None)
        return await database_threads.query(calls.find_outcome, self._call, started)

    async def _abandon(self, started: Started) -> None:
        """Cancel the run, unless the server is stopping: then clients reconnect."""
        if not server_is_stopping():
            with anyio.CancelScope(shield=True):
                await database_threads.query(calls.cancel, started)

    async def _ask(self, asking: Asking) -> dict[str, Content]:
        """Ask the questions one by one. Raises `Declined` or `Dismissed`."""
        contents: dict[str, Content] = {}
        for one in map(question, asking.interrupts):
            try:
                response = await self._context.session.elicit_form(
                    one.message, one.schema, self._context.request_id
                )
            except (MCPError, ValidationError):
                # The client is gone, or can't ask this question after all.
                raise Dismissed from None
            contents |= _contents({one.interrupt_id: response})
        return contents

    def _state_of(self, asking: Asking) -> RequestState:
        ids = tuple(str(one["id"]) for one in asking.interrupts)
        return RequestState(asking.thread_id, self._call.tool.assistant.id, ids)


def failed(reason: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=reason)], is_error=True)


def _state(text: str) -> RequestState:
    try:
        return unsign(text)
    except StaleState:
        raise Unprocessable("requestState: it is no longer valid") from None


def _contents(responses: Mapping[str, Any]) -> dict[str, Content]:
    """The completed forms, by interrupt id. Raises `Declined` or `Dismissed`."""
    if not all(isinstance(response, ElicitResult) for response in responses.values()):
        raise Unprocessable(
            "inputResponses: each must be the response to an elicitation"
        )
    actions = {response.action for response in responses.values()}
    if "decline" in actions:
        raise Declined
    if "cancel" in actions:
        raise Dismissed
    return {key: response.content or {} for key, response in responses.items()}


def _result(outcome: Outcome) -> CallToolResult:
    """The result as JSON, and as text of that JSON for models that only read text."""
    if isinstance(outcome, Failed):
        return failed(outcome.reason)
    text = dumps(outcome.output)
    # Parse it again, so that all values are plain JSON.
    return CallToolResult(
        content=[TextContent(text=text.decode())], structured_content=loads(text)
    )


def _input_required(asking: Asking, state: RequestState) -> InputRequiredResult:
    questions = [question(interrupt) for interrupt in asking.interrupts]
    requests: InputRequests = {
        one.interrupt_id: ElicitRequest(
            params=ElicitRequestFormParams(
                message=one.message, requested_schema=one.schema
            )
        )
        for one in questions
    }
    return InputRequiredResult(input_requests=requests, request_state=sign(state))
