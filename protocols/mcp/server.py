"""The MCP server: assistants as tools, over the library's low-level server.

Functions that use the database are called on the threads that may. Errors of REST
framework, which the rest of Spool raises, become MCP errors here.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolRequestParams,
    ListToolsResult,
    PaginatedRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)
from rest_framework.exceptions import APIException

from spool.protocols.mcp.callers import Context, view_request
from spool.protocols.mcp.changes import listen_to_changes
from spool.protocols.mcp.tool_call import ToolCall, ToolResult, failed
from spool.protocols.mcp.tools import AssistantTool, UnknownTool, find_tool, list_tools
from spool.web.thread_pool import database_threads

INSTRUCTIONS = (
    "Each tool is an assistant. A result with `thread_id` and `interrupts` is a question: "
    "call the tool again with that `thread_id`, and the answer as `resume`."
)


def new_server() -> Server[Any]:
    return Server(
        "Spool",
        version=settings.VERSION,
        instructions=INSTRUCTIONS,
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
        on_subscriptions_listen=_listen,
        # No tool takes an argument from a header. Without this, the library would list
        # all tools before each call to find out.
        get_tool_input_schema=lambda name: None,
    )


async def _list_tools(
    context: Context, params: PaginatedRequestParams | None
) -> ListToolsResult:
    cursor = (params.cursor if params else None) or "0"
    if not cursor.isdecimal():
        raise MCPError(INVALID_PARAMS, "Invalid cursor")
    request = view_request(context)
    try:
        found, following = await database_threads.query(
            list_tools, request, int(cursor)
        )
    except APIException as exc:
        raise _refused(exc) from None
    next_cursor = None if following is None else str(following)
    return ListToolsResult(tools=found, next_cursor=next_cursor)


async def _call_tool(context: Context, params: CallToolRequestParams) -> ToolResult:
    tool = await _find(context, params.name)
    try:
        return await ToolCall(context, tool).run(params)
    except APIException as exc:
        if exc.status_code >= 500:
            raise
        # The error is in the call: a model that reads it can correct the call.
        return failed(str(exc.detail))


async def _find(context: Context, name: str) -> AssistantTool:
    try:
        return await database_threads.query(find_tool, view_request(context), name)
    except UnknownTool:
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {name}") from None
    except APIException as exc:
        raise _refused(exc) from None


async def _listen(
    context: Context, params: SubscriptionsListenRequestParams
) -> SubscriptionsListenResult:
    try:
        return await listen_to_changes(context, params)
    except APIException as exc:
        raise _refused(exc) from None


def _refused(exc: APIException) -> MCPError:
    return MCPError(INVALID_REQUEST, str(exc.detail))
