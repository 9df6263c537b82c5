"""Functions that build a graph, and the arguments that they get.

As in the official server, annotations decide: a `RunnableConfig` is the run's config, a
`ServerRuntime` holds the purpose of the build and the user. Without annotations, the
names `config` and `runtime` decide; a single parameter of another name is the config.
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
    """A factory has a required parameter that Spool can't provide."""


@dataclass(frozen=True)
class BuildRequest:
    """The purpose of a build. `context` is that of the run, if a run is executed."""

    config: RunnableConfig
    access: AccessContext
    store: BaseStore | None = None
    context: Mapping[str, Any] | None = None


class Factory:
    """A function that builds a graph.

    Raises `UnknownParameter` if Spool can't call the function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._kinds = _kinds(function)
        self._context_type = _context_type(function)

    @property
    def takes_config(self) -> bool:
        """Whether the function may build a different graph for each config."""
        return bool(self._kinds)

    async def make(self, request: BuildRequest, stack: AsyncExitStack) -> Any:
        """Call the function. If it returns a context manager, enter that on `stack`."""
        given = {"config": request.config, "runtime": self._runtime(request)}
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

    def _runtime(self, request: BuildRequest) -> ServerRuntime[Any]:
        user = (request.config.get("configurable") or {}).get("langgraph_auth_user")
        common: Any = {
            "access_context": request.access,
            "user": User(user) if user else None,
            "store": request.store,
        }
        # The SDK makes both types private: only servers create them.
        if request.access == EXECUTION:
            context = _typed(self._context_type, request.context)
            return runtime._ExecutionRuntime(**common, context=context)
        return runtime._ReadRuntime(**common)


def _kinds(function: Callable[..., Any]) -> dict[int | str, Kind]:
    """The kind of each parameter, by name, or by position if it is positional-only."""
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
    # As text: the annotation may be a string, a union, or generic.
    annotation = inspect.formatannotation(parameter.annotation)
    annotated = [kind for name, kind in KINDS.items() if name in annotation]
    named = [kind for kind in KINDS.values() if parameter.name == kind]
    return next(iter(annotated + named), None)


def _only_config(parameter: inspect.Parameter, has_others: bool) -> Kind | None:
    """The kind of a parameter without a known annotation or name."""
    is_variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if is_variadic or parameter.default is not parameter.empty:
        return None
    if has_others:
        raise UnknownParameter(
            f"the parameter {parameter.name!r} is neither a RunnableConfig nor a "
            "ServerRuntime"
        )
    return "config"


def _context_type(function: Callable[..., Any]) -> Any:
    """The `Context` of a parameter annotated as `ServerRuntime[Context]`."""
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):  # Imported only for type checkers; not a function.
        return None
    hints.pop("return", None)
    runtimes = [hint for hint in hints.values() if "ServerRuntime" in str(hint)]
    return next((kind for hint in runtimes for kind in get_args(hint)), None)


def _typed(context_type: Any, context: Mapping[str, Any] | None) -> Any:
    known = context_for(context_type, context)
    if is_built(context_type) and isinstance(known, Mapping):
        return context_type(**known)
    return known
