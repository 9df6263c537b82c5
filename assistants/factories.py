"""Functions that make a graph, and what each of their parameters is given.

As in the official server the annotations say it: a `RunnableConfig` is the run's config,
a `ServerRuntime` says why the graph is wanted, and for whom. Else the names `config` and
`runtime` do, and a single parameter of any other name is the config.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from langchain_core.runnables import RunnableConfig
from langgraph.store.base import BaseStore
from langgraph_sdk import runtime
from langgraph_sdk.runtime import AccessContext, ServerRuntime

from spool.access.users import User
from spool.assistants.configurable import context_for, is_built

EXECUTION: AccessContext = "threads.create_run"

Kind = Literal["config", "runtime"]
KINDS: dict[str, Kind] = {"RunnableConfig": "config", "ServerRuntime": "runtime"}


class UnknownParameter(TypeError):
    """A factory wants something that nobody can give it."""


@dataclass(frozen=True)
class Wish:
    """Why a graph is wanted. `context` is the run's, where one is executed."""

    config: RunnableConfig
    access: AccessContext
    store: BaseStore | None = None
    context: Mapping[str, Any] | None = None


class Factory:
    """Raises `UnknownParameter` for a function that can't be called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._kinds = _kinds(function)
        self._context_type = _context_type(function)

    @property
    def looks_at_config(self) -> bool:
        """Whether it may make another graph for each config."""
        return bool(self._kinds)

    async def make(self, wish: Wish, stack: AsyncExitStack) -> Any:
        """What the function makes for this; its resources live on `stack`."""
        given = {"config": wish.config, "runtime": self._runtime(wish)}
        arguments = [(place, given[kind]) for place, kind in self._kinds.items()]
        made = self._function(
            *[value for place, value in arguments if isinstance(place, int)],
            **{place: value for place, value in arguments if isinstance(place, str)},
        )
        if inspect.isasyncgen(made):
            made = asynccontextmanager(lambda: made)()
        elif inspect.isgenerator(made):
            made = contextmanager(lambda: made)()
        if isinstance(made, AbstractAsyncContextManager):
            return await stack.enter_async_context(made)
        if isinstance(made, AbstractContextManager):
            return stack.enter_context(made)
        return await made if inspect.isawaitable(made) else made

    def _runtime(self, wish: Wish) -> ServerRuntime[Any]:
        user = (wish.config.get("configurable") or {}).get("langgraph_auth_user")
        common: Any = {
            "access_context": wish.access,
            "user": User(user) if user else None,
            "store": wish.store,
        }
        # The SDK names both only for servers.
        if wish.access == EXECUTION:
            context = _typed(self._context_type, wish.context)
            return runtime._ExecutionRuntime(**common, context=context)
        return runtime._ReadRuntime(**common)


def _kinds(function: Callable[..., Any]) -> dict[int | str, Kind]:
    """What goes into each parameter, by its name, or its place where that is all."""
    parameters = list(inspect.signature(function).parameters.values())
    known = [_kind(parameter) for parameter in parameters]
    found: dict[int | str, Kind] = {}
    for place, (parameter, said) in enumerate(zip(parameters, known, strict=True)):
        has_others = any(known) or bool(found)
        if kind := said or _only_config(parameter, has_others):
            by_place = parameter.kind is parameter.POSITIONAL_ONLY
            found[place if by_place else parameter.name] = kind
    return found


def _kind(parameter: inspect.Parameter) -> Kind | None:
    # By its text: it may be a string, a union, or have a parameter of its own.
    annotation = inspect.formatannotation(parameter.annotation)
    annotated = [kind for name, kind in KINDS.items() if name in annotation]
    named = [kind for kind in KINDS.values() if parameter.name == kind]
    return next(iter(annotated + named), None)


def _only_config(parameter: inspect.Parameter, has_others: bool) -> Kind | None:
    """Of a parameter that nothing says anything about."""
    is_variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if is_variadic or parameter.default is not parameter.empty:
        return None
    if has_others:
        raise UnknownParameter(
            f"the parameter {parameter.name!r} is no RunnableConfig or ServerRuntime"
        )
    return "config"


def _context_type(function: Callable[..., Any]) -> Any:
    """`Context` of a parameter that is a `ServerRuntime[Context]`."""
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):  # Names for type checkers alone; an object.
        return None
    hints.pop("return", None)
    runtimes = [hint for hint in hints.values() if "ServerRuntime" in str(hint)]
    return next((kind for hint in runtimes for kind in get_args(hint)), None)


def _typed(context_type: Any, context: Mapping[str, Any] | None) -> Any:
    known = context_for(context_type, context)
    if is_built(context_type) and isinstance(known, Mapping):
        return context_type(**known)
    return known
