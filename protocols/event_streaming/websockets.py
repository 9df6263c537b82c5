"""Event streaming over a WebSocket: commands and events on one connection.

`web.handler` passes connections by a hook. A refused client gets a close code (4000 plus
the HTTP status), since browsers show no other reason.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from rest_framework.exceptions import APIException

from spool.access.limits import count_caller
from spool.access.policy import authorize
from spool.database.ids import uuid7
from spool.database.json import TooDeep, Unstorable, dumps, loads_exact
from spool.protocols.event_streaming.commands import Conversation, answered, refused
from spool.protocols.event_streaming.errors import Refusal
from spool.protocols.event_streaming.feed import Feed, Subscription
from spool.protocols.event_streaming.limits import check_connections, counted
from spool.protocols.event_streaming.requests import (
    NO_JSON,
    Command,
    Unsubscribe,
    parsed,
    parsed_command,
)
from spool.protocols.event_streaming.subscriptions import Filter
from spool.protocols.event_streaming.views import connection_of
from spool.runs.streaming.light_event import LightEvent
from spool.threads.models import Thread
from spool.web import cors
from spool.web.bodies import path_uuid
from spool.web.errors import NotFound
from spool.web.http_options import is_disabled
from spool.web.limits import check_json
from spool.web.thread_pool import database_threads

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH = re.compile(r"/threads/([^/]+)/stream/events")

TOO_LARGE = 4413
NOT_FOUND = 4404
FAILED = 1011


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection, from its handshake to its end."""
    await receive()
    path = PATH.fullmatch(scope["path"].removeprefix(scope.get("root_path", "")))
    if path is None:
        await send({"type": "websocket.accept"})
        await _close(send, NOT_FOUND, "Not Found")
        return
    # Browsers that offer subprotocols close the connection if none is chosen.
    [chosen, *_] = scope.get("subprotocols") or [None]
    await send({"type": "websocket.accept", "subprotocol": chosen})
    request = _request(scope)
    try:
        thread_id, who = await database_threads.query(_let_in, request, path[1])
    except APIException as exc:
        await _close(send, 4000 + exc.status_code, str(exc.detail))
        return
    except Exception:
        logger.exception("A WebSocket handshake failed")
        await _close(send, FAILED, "Internal Server Error")
        return
    with counted(who):
        await Connection(Conversation(request, thread_id), receive, send).serve()


def _request(scope: Scope) -> HttpRequest:
    """The handshake as a request, for code that reads a request's headers."""
    request = ASGIRequest({**scope, "type": "http", "method": "GET"}, BytesIO())
    request.__dict__["request_id"] = str(uuid7())
    return request


def _let_in(request: HttpRequest, thread_id: str) -> tuple[UUID, str]:
    """The thread's id, and the key for counting the caller's connections.

    Raises an `APIException` to refuse the connection. The thread need not exist or be
    visible: the caller may create it by a command.
    """
    if is_disabled(request.path_info):
        raise NotFound
    if not cors.lets_in(request):
        raise cors.OriginRefused
    who = connection_of(request)  # Authenticates.
    count_caller(request)
    found = path_uuid(thread_id, "thread")
    authorize(request, "threads.read", {"thread_id": found})
    check_connections(who)
    return found, who


class Connection:
    def __init__(
        self, conversation: Conversation, receive: Receive, send: Send
    ) -> None:
        self.conversation = conversation
        self._receive = receive
        self._send = send
        self.feed = Feed(conversation.thread_id)
        # Subscriptions that wait until the thread exists and the caller can see it.
        self._waiting: list[Subscription] = []
        self._is_visible = LightEvent()

    async def serve(self) -> None:
        tasks = [
            asyncio.create_task(self._commands(), name="commands"),
            asyncio.create_task(self._events(), name="events"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            if task.cancelled():
                continue
            exc = task.exception()
            if exc:
                # A server raises an OSError if the client has left.
                if not isinstance(exc, OSError):
                    logger.error("a WebSocket failed", exc_info=exc)
                await _close(self._send, FAILED, "Internal Server Error")
            elif code := task.result():
                await _close(self._send, *code)

    # --- From the client --------------------------------------------------------------
    async def _commands(self) -> tuple[int, str] | None:
        """Answer commands in order. Return a close code, or None if the client left."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
            received = (message.get("text") or "").encode() or message.get("bytes")
            if len(received or b"") > settings.EVENT_STREAM_MAX_MESSAGE_BYTES:
                return TOO_LARGE, "The message is too large"
            await self._answer((received or b"").decode(errors="replace"))

    async def _answer(self, text: str) -> None:
        try:
            command = parsed_command(_json(text))
        except Refusal as exc:
            await self._tell(refused(None, exc))
            return
        try:
            response = await self._response(command)
        except Refusal as exc:
            response = refused(command.id, exc)
        except APIException as exc:
            refusal = Refusal("unknown_error", f"{exc.status_code}: {exc.detail}")
            response = refused(command.id, refusal)
        except Exception:
            logger.exception("%s failed", command.method)
            refusal = Refusal("unknown_error", "Internal Server Error")
            response = refused(command.id, refusal)
        if response is not None:
            await self._tell(response)

    async def _response(self, command: Command) -> dict[str, Any] | None:
        if command.method == "subscription.subscribe":
            return await self._subscribe(command)
        if command.method == "subscription.reconnect":
            return await self._reconnect(command)
        if command.method == "subscription.unsubscribe":
            return self._unsubscribe(command)
        response = await database_threads.query(answered, self.conversation, command)
        if self._waiting:
            await self._look_for_thread()
        return response

    # --- Subscriptions ------------------------------------------------------------------
    async def _subscribe(self, command: Command) -> dict[str, Any]:
        subscription = await self._begun(parsed(Filter, command.params))
        replayed = await self._replayed(subscription)
        return self._success(
            command, subscription_id=subscription.id, replayed_events=replayed
        )

    async def _reconnect(self, command: Command) -> dict[str, Any]:
        params = command.params if isinstance(command.params, dict) else {}
        if not params.get("channels"):
            raise Refusal(
                "invalid_argument",
                "subscription.reconnect requires a non-empty channels array.",
            )
        subscription = await self._begun(parsed(Filter, params))
        missed = await self._replayed(subscription)
        return self._success(
            command,
            restored=True,
            missed_events=missed,
            subscription_id=subscription.id,
        )

    async def _begun(self, chosen: Filter) -> Subscription:
        count = len(self.feed.subscriptions) + len(self._waiting)
        if count >= settings.EVENT_STREAM_MAX_SUBSCRIPTIONS:
            raise Refusal("invalid_argument", "Too many subscriptions")
        subscription = Subscription(str(uuid4()), chosen)
        self._waiting.append(subscription)
        await self._look_for_thread()
        return subscription

    async def _replayed(self, subscription: Subscription) -> int:
        """How many past events were sent; 0 if the client can't see a thread yet."""
        return await subscription.replayed if self._is_visible.is_set() else 0

    def _unsubscribe(self, command: Command) -> dict[str, Any]:
        named = parsed(Unsubscribe, command.params).subscription_id
        waiting = [one for one in self._waiting if one.id != named]
        if not self.feed.unsubscribe(named) and waiting == self._waiting:
            raise Refusal("no_such_subscription", f"Unknown subscription {named!r}")
        self._waiting = waiting
        return self._success(command)

    async def _look_for_thread(self) -> None:
        """Begin waiting subscriptions, once the caller can see the thread."""
        if not self._is_visible.is_set():
            if not await database_threads.query(self._sees_thread):
                return
            self._is_visible.set()
        for subscription in self._waiting:
            self.feed.subscribe(subscription)
        self._waiting = []

    def _sees_thread(self) -> bool:
        thread_id = self.conversation.thread_id
        allowed = authorize(
            self.conversation.request, "threads.read", {"thread_id": thread_id}
        )
        return Thread.objects.visible_to(allowed.scope).filter(pk=thread_id).exists()

    # --- To the client ----------------------------------------------------------------
    async def _events(self) -> tuple[int, str] | None:
        while not self._is_visible.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.STREAM_HEARTBEAT_SECS):
                    await self._is_visible.wait()
            if self._waiting:
                await self._look_for_thread()
        async with aclosing(self.feed.envelopes()) as batches:
            async for batch in batches:
                for envelope in batch:
                    await self._send_text(envelope.json())
        return NOT_FOUND, "The thread was deleted"

    def _success(self, command: Command, **result: Any) -> dict[str, Any]:
        return {
            "type": "success",
            "id": command.id,
            "result": result,
            "meta": {"applied_through_seq": self.feed.last_seq},
        }

    async def _tell(self, response: dict[str, Any]) -> None:
        await self._send_text(dumps(response))

    async def _send_text(self, text: bytes) -> None:
        await self._send({"type": "websocket.send", "text": text.decode()})


def _json(text: str) -> Any:
    """Parse a message, with the limits and the checks of a request's body."""
    raw = text.encode(errors="surrogatepass")
    try:
        check_json(raw)
        return loads_exact(raw)
    except APIException as exc:
        raise Refusal("invalid_argument", str(exc.detail)) from None
    except (TooDeep, Unstorable) as exc:
        raise Refusal("invalid_argument", str(exc)) from None
    except (ValueError, RecursionError):
        raise Refusal("invalid_argument", NO_JSON) from None


async def _close(send: Send, code: int, reason: str) -> None:
    # The client or the server may have closed the connection already.
    with suppress(Exception):
        await send({"type": "websocket.close", "code": code, "reason": reason[:100]})
