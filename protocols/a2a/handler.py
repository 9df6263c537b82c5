"""A2A's methods, implemented with the use cases of runs and threads.

The SDK calls these methods for every binding and version.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import (
    RequestHandler,
    validate_request_params,
)
from a2a.types.a2a_pb2 import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import TaskNotCancelableError
from a2a.utils.task import validate_history_length

from spool.protocols.a2a import cards, listing, pushes, reading, sending
from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.tasks import TaskRef, build_task
from spool.protocols.a2a.updates import Update, until_end, updates

CALL = "spool.call"


def call_of(context: ServerCallContext) -> Call:
    call: Call = context.state[CALL]
    # The names of 0.3's methods have a slash; those of 1.0 are words.
    call.protocol = "0.3" if "/" in context.state.get("method", "") else "1.0"
    return call


class AgentHandler(RequestHandler):
    @validate_request_params
    async def on_message_send(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> Task:
        validate_history_length(params.configuration)
        call = call_of(context)
        returns = params.configuration.return_immediately
        sent = await call.query(sending.send, params, is_watched=returns)
        if not returns:
            await until_end(sent.stream)
        return await call.query(
            reading.read_left,
            sent.task.ref,
            sent.stream.run_id,
            _history_length(params.configuration),
        )

    @validate_request_params
    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Task | Update, None]:
        validate_history_length(params.configuration)
        call = call_of(context)
        sent = await call.query(sending.send, params, is_watched=True)
        yield await call.query(_built, sent, _history_length(params.configuration))
        news = updates(call, sent.task.ref, sent.edges, sent.stream)
        async with aclosing(news):
            async for update in news:
                yield update

    @validate_request_params
    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Task | Update, None]:
        call, ref = call_of(context), TaskRef.parse(params.id)
        joined = await call.query(reading.join_task, ref)
        yield joined.built
        if joined.stream is None:
            return
        news = updates(call, ref, joined.edges, joined.stream)
        async with aclosing(news):
            async for update in news:
                yield update

    @validate_request_params
    async def on_get_task(
        self, params: GetTaskRequest, context: ServerCallContext
    ) -> Task:
        validate_history_length(params)
        ref = TaskRef.parse(params.id)
        return await call_of(context).query(
            reading.read_task, ref, _history_length(params)
        )

    @validate_request_params
    async def on_list_tasks(
        self, params: ListTasksRequest, context: ServerCallContext
    ) -> ListTasksResponse:
        return await call_of(context).query(listing.list_tasks, params)

    @validate_request_params
    async def on_cancel_task(
        self, params: CancelTaskRequest, context: ServerCallContext
    ) -> Task:
        call, ref = call_of(context), TaskRef.parse(params.id)
        stream = await call.query(reading.cancel_task, ref)
        await until_end(stream)
        task = await call.query(reading.read_left, ref, stream.run_id)
        if task.status.state != TaskState.TASK_STATE_CANCELED:
            # The run ended before its worker received the cancellation.
            raise TaskNotCancelableError
        return task

    # --- Push notifications --------------------------------------------------------------
    @validate_request_params
    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        return await call_of(context).query(pushes.create, params)

    @validate_request_params
    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        return await call_of(context).query(pushes.get, params)

    @validate_request_params
    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        return await call_of(context).query(pushes.list_all, params)

    @validate_request_params
    async def on_delete_task_push_notification_config(
        self,
        params: DeleteTaskPushNotificationConfigRequest,
        context: ServerCallContext,
    ) -> None:
        await call_of(context).query(pushes.delete, params)

    # --- The agent itself ----------------------------------------------------------------
    @validate_request_params
    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        return await call_of(context).query(cards.extended_card)


def _built(call: Call, sent: sending.Sent, history_length: int | None) -> Task:
    return build_task(sent.task, sent.edges, history_length=history_length)


def _history_length(params: Any) -> int | None:
    """The number of messages to return; None for all messages."""
    return params.history_length if params.HasField("history_length") else None
