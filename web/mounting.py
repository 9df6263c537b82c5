"""The whole server below a path (`http.mount_prefix`), beside the operator's own routes
(`http.app`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException

from spool.config.env import stop
from spool.config.langgraph_json import langgraph_json
from spool.config.missing import install_hint
from spool.config.user_objects import load_object
from spool.database.ids import uuid7
from spool.web import cors, hooks, inside, request_ids
from spool.web.guards import App, Gate, Message, Receive, Scope, Send, answer
from spool.web.thread_pool import database_threads

# Always Spool's routes, even if an operator's app has them: many frameworks add pages
# with these names by default.
OURS = ("/ok", "/docs", "/openapi.json", "/admin", "/static")
# Paths for load balancers and supervisors.
PROBES = ("/ok", "/live", "/ready")
DECLINED = (404, 405)
# Prefixes of `Location` and `Content-Location` of a run.
RUN_PATHS = ("/threads/", "/runs/")
# Characters to escape in a URL, and paths that are not below the root.
_NOT_IN_A_PATH = re.compile(r"[^\w.~/-]|//|(^|/)\.\.?(/|$)", re.ASCII)
# In the paths of Starlette's routes.
_CONVERTER = re.compile(r":\w+\}")
_PARAMETER = re.compile(r"\{(\w+)\}")
HEARD = {b"origin": "HTTP_ORIGIN", b"x-request-id": "HTTP_X_REQUEST_ID"}


def mounted(make: Callable[[], App]) -> App:
    """The server that `make` builds, with the prefix and the app of `http`."""
    prefix, theirs = mount_prefix(), custom_app()
    if prefix:
        # The admin's pages and static files use it; whitenoise reads it once.
        settings.FORCE_SCRIPT_NAME = prefix
        settings.STATIC_URL = f"{prefix}/static/"
    app = make()
    if theirs:
        needs_login = langgraph_json().http.enable_custom_route_auth
        app = CustomRoutes(theirs, app, needs_login=needs_login)
    return Gate(Prefixed(app, prefix) if prefix else app)


def mount_prefix() -> str:
    """The prefix, with a slash before it and none after it; empty if there is none."""
    given = langgraph_json().http.mount_prefix or settings.MOUNT_PREFIX
    path = given.strip("/")
    if _NOT_IN_A_PATH.search(path):
        stop(f"http.mount_prefix (MOUNT_PREFIX) must be a path, not {given!r}")
    return f"/{path}" if path else ""


def check_routes(**kwargs: Any) -> list[CheckMessage]:
    """`manage.py check`: `http` is valid, and the operator's own routes can be loaded."""
    try:
        read_options()
        custom_app()
    except SystemExit as exc:
        text = str(exc).removeprefix("spool: ")
        return [Error(text, hint="Correct `http` in langgraph.json.", id="config.E001")]
    return []


def read_options() -> None:
    """Stop the start if `http` is invalid."""
    mount_prefix()
    cors.rules()


def custom_app() -> App | None:
    """Load `http.app`, the operator's ASGI application. Exits if it can't be loaded."""
    reference = langgraph_json().http.app
    if not reference:
        return None
    try:
        app = load_object(reference)
    except (Exception, SystemExit) as exc:  # Whatever the operator's module raises.
        stop(
            f"http.app: cannot load {reference}: {type(exc).__name__}: {exc}"
            f"{install_hint(exc)}"
        )
    if not callable(app):
        stop(f"http.app: {reference} is not an ASGI application")
    found: App = app
    return found


def is_always_ours(path: str) -> bool:
    return any(f"{path}/".startswith(f"{place}/") for place in OURS)


def custom_schema() -> dict[str, Any]:
    """The OpenAPI schema of `http.app`; FastAPI's apps have a complete one."""
    app: Any = custom_app()
    if hasattr(app, "openapi"):
        described: dict[str, Any] = app.openapi()
        return described
    paths: dict[str, Any] = {}
    for route in getattr(app, "routes", None) or ():
        if not getattr(route, "include_in_schema", False):
            continue
        path = _CONVERTER.sub("}", route.path)
        names = _PARAMETER.findall(path)
        given = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
        for method in sorted((getattr(route, "methods", None) or set()) - {"HEAD"}):
            operation = {"responses": {"200": {"description": ""}}, "parameters": given}
            paths.setdefault(path, {})[method.lower()] = operation
    return {"paths": paths}


class Prefixed:
    """Serves all routes below `prefix`, and `PROBES` at the root too."""

    def __init__(self, app: App, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
        elif f"{scope['path']}/".startswith(f"{self.prefix}/"):
            await self.app(self._below(scope), receive, self._with_prefix(send))
        else:
            await answer(scope, receive, send, 404, "Not Found")

    def _below(self, scope: Scope) -> Scope:
        """The scope below the prefix, which may come twice in a run's path.

        Clients append a `Location` to their base URL.
        """
        path, twice = scope["path"], self.prefix * 2
        if path.startswith(tuple(f"{twice}{place}" for place in RUN_PATHS)):
            path = path.removeprefix(self.prefix)
        return {**scope, "root_path": self.prefix, "path": path}

    def _with_prefix(self, send: Send) -> Send:
        async def send_prefixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, self._whole(name.lower(), value))
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        return send_prefixed

    def _whole(self, name: bytes, value: bytes) -> bytes:
        """Prefix a run's path. No host is added: it may be wrong behind a proxy."""
        is_ours = value.decode("latin1").startswith(RUN_PATHS)
        if is_ours and name in (b"location", b"content-location"):
            return self.prefix.encode() + value
        return value


class CustomRoutes:
    """The operator's app for the routes that it has, `inner` for all others.

    The routes of a Starlette or FastAPI app are known, and its middleware wraps all
    routes, including ours. Any other app is called first, and requests that it declines
    (404, 405) are passed to `inner`.
    """

    def __init__(self, app: App, inner: App, *, needs_login: bool) -> None:
        self.app = app
        self.inner = inner
        self.needs_login = needs_login
        self._is_around = _is_starlette_app(app)
        if self._is_around:
            _put_inside(app, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif self._is_around:
            await self.app(scope, receive, send)
        else:
            await self.route(scope, receive, send)

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the matching route, the app's or ours."""
        if self._is_ours(scope):
            await self.inner(scope, receive, send)
        elif self.needs_login and (refused := await _refusal(scope)):
            await answer(scope, receive, _with_our_headers(scope, send), *refused)
        else:
            await self._ask(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if is_always_ours(path):
            return True
        routes = getattr(self.app, "routes", None)
        if routes is None:
            # An app can't decline a WebSocket and leave it open for `inner`.
            return bool(scope["type"] == "websocket")
        # 2 is Starlette's name for a route that fits in path and method.
        return not any(route.matches(scope)[0].value == 2 for route in routes)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        theirs = _with_our_headers(scope, send)
        if self._is_around:
            router: InnerRouter = self.app.router  # type: ignore[attr-defined]
            await router.inner(scope, receive, theirs)
            return
        if hasattr(self.app, "routes"):
            await self.app(scope, receive, theirs)
            return
        received: list[Message] = []
        declined: list[Message] = []

        async def overhear() -> Message:
            received.append(await receive())
            return received[-1]

        async def again() -> Message:
            return received.pop(0) if received else await receive()

        async def unless_declined(message: Message) -> None:
            if declined or message.get("status") in DECLINED:
                declined.append(message)
            else:
                await theirs(message)

        # `inner` gets its own scope, because apps modify theirs.
        await self.app(dict(scope), overhear, unless_declined)
        if declined:
            await self.inner(scope, again, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the app before ours, and stop it after ours."""
        theirs = Lifespan(self.app, scope)
        if failure := await theirs.start():
            await receive()
            await send({"type": "lifespan.startup.failed", "message": failure})
            return

        async def send_last(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await theirs.stop()
            await send(message)

        await self.inner(scope, receive, send_last)


class InnerRouter:
    """Replaces an app's router, inside its middleware: it serves all routes."""

    def __init__(self, inner: Any, routes: CustomRoutes) -> None:
        self.inner = inner
        self._routes = routes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
        else:
            await self._routes.route(scope, receive, send)


def _is_starlette_app(app: Any) -> bool:
    """Whether an app has Starlette's middleware, as Starlette and FastAPI apps do."""
    return hasattr(app, "router") and hasattr(app, "build_middleware_stack")


def _put_inside(app: Any, routes: CustomRoutes) -> None:
    router = app.router
    app.router = InnerRouter(
        router.inner if isinstance(router, InnerRouter) else router, routes
    )
    app.middleware_stack = None  # It is rebuilt around the new router.


class Lifespan:
    """Starts and stops an application that may not support the lifespan protocol."""

    def __init__(self, app: App, scope: Scope) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        # Starlette puts what its lifespan yields into the state.
        self._scope = {**scope, "state": scope.get("state", {})}
        self._app = app

    async def start(self) -> str:
        """Start the application. Return the error, or an empty string."""
        with inside.acting(inside.SYSTEM):
            self._task = asyncio.create_task(self._run())
        return await self._tell("lifespan.startup")

    async def stop(self) -> None:
        if not self._task.done():
            await self._tell("lifespan.shutdown")
            await self._task

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._to_app.get, self._from_app.put)
        except Exception as exc:  # An app without a lifespan may raise anything.
            await self._from_app.put({"type": "raised", "message": repr(exc)})
        else:
            await self._from_app.put({"type": "returned"})

    async def _tell(self, message: str) -> str:
        await self._to_app.put({"type": message})
        answer = await self._from_app.get()
        failed = answer["type"].endswith(".failed")
        return f"http.app: {answer.get('message', '')}" if failed else ""


def _with_our_headers(scope: Scope, send: Send) -> Send:
    """Add the headers of our own middleware: `http.cors`, and the request's id.

    Headers that the app sets itself are not changed.
    """
    request = HttpRequest()
    for name, value in scope["headers"]:
        if name in HEARD:
            request.META[HEARD[name]] = value.decode("latin-1")
    given = cors.with_headers(request, HttpResponse())
    given[request_ids.HEADER] = request_ids.given_id(request) or str(uuid7())
    del given["Content-Type"]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = {name.lower() for name, _ in message["headers"]}
            ours = [(n.lower().encode(), v.encode("latin-1")) for n, v in given.items()]
            more = [header for header in ours if _adds(header[0], said)]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return send_with_headers


def _adds(name: bytes, said: set[bytes]) -> bool:
    """Whether to add our header to those that the app has set (`said`)."""
    if name == b"vary":
        return True
    if name.startswith(b"access-control-"):  # Add either all CORS headers or none.
        return b"access-control-allow-origin" not in said
    return name not in said


async def _refusal(scope: Scope) -> tuple[int, str] | None:
    """The status and text of a refusal; None if the caller is accepted.

    An accepted caller becomes the app's `request.user`.
    """

    def ask() -> tuple[int, str] | None:
        try:
            user = hooks.authenticate(scope)
        except APIException as exc:
            return exc.status_code, str(exc.detail)
        if user:
            scope["user"] = user
        return None

    return await database_threads.query(ask)
