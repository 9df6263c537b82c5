"""Requests are typed: no use case takes one as a dictionary with any keys."""

from __future__ import annotations

import inspect
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from importlib import import_module
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest

from spool.tests.structure.test_layers import modules

# The modules that pass a request on to a row, and from there to a graph.
USE_CASES = (
    *("services", "requests", "firing", "creator", "recovery", "budget_stops"),
    *("priority", "queue", "record", "new_run", "budgets", "sweeping", "state"),
    *("run_request", "cron_request", "thread_request", "assistant_request"),
    *("policy", "handlers", "calls", "sending", "commands", "deliveries"),
    *("batches", "repeats", "together", "slots", "updates", "timeline", "meter"),
)
FOLDERS = ("runs.lifecycle.", "runs.worker.", "runs.tasks", "crons.tasks")

# Parameters that may be any JSON, of a client, a graph, the operator or a library.
ANY_JSON = {
    # A graph's input, and what clients may store with a row.
    *("input", "command", "config", "context", "metadata", "checkpoint", "map"),
    *("added_configurable", "configurable"),
    *("assistant_metadata", "thread_metadata", "thread_config"),
    # A graph's state, interrupts and output, which a run's end event also has.
    *("state", "values", "interrupts", "output", "end_data"),
    # The value of an event in the official `Auth` contract, which handlers change.
    *("value", "arguments"),
    # The user that an operator's `authenticate` returns.
    "user",
    # A cron's request as its client sent it, which each run validates.
    *("payload", "fields"),
    # A row of a statement, its parameters, and JSON of a row.
    *("row", "params", "stored", "tools"),
    # Attributes of a span, and LangChain's information about a call.
    *("attributes", "about", "found"),
    # Keyword arguments of LangGraph and LangChain.
    "options",
    # An agent's schema, and a message's data for it.
    *("schema", "data"),
    # Answers to interrupts by their ids, and what LangGraph streams.
    *("contents", "chunk", "message"),
}

CONTAINERS = (
    *(Union, UnionType, Annotated),
    *(list, tuple, set, frozenset, Sequence, Iterable, Iterator, Collection),
)


def use_cases() -> list[str]:
    return [
        module
        for module in modules()
        if module.rpartition(".")[2] in USE_CASES or module.startswith(FOLDERS)
    ]


def functions(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """The functions and methods that are written in the module."""
    for value in vars(module).values():
        if getattr(value, "__module__", "") != module.__name__:
            continue
        if isinstance(value, type):
            yield from methods(value)
        elif callable(value):
            yield inspect.unwrap(value)


def methods(kind: type) -> Iterator[Callable[..., Any]]:
    for value in vars(kind).values():
        if isinstance(value, (classmethod, staticmethod)):
            yield value.__func__
        elif inspect.isfunction(value):
            yield value


def is_any_dictionary(hint: Any) -> bool:
    """Whether a type is or contains `dict[str, Any]`, or is as vague as `object`."""
    if hint in (dict, Mapping, MutableMapping, object):
        return True
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (dict, Mapping, MutableMapping):
        return parts[1] is Any or is_any_dictionary(parts[1])
    if kind in CONTAINERS:
        return any(map(is_any_dictionary, parts))
    return False


def takes_any_keywords(function: Callable[..., Any], name: str, hint: Any) -> bool:
    """Whether a parameter is `**name: Any`, except in functions that libraries call."""
    parameter = inspect.signature(function).parameters.get(name)
    return (
        parameter is not None
        and parameter.kind is parameter.VAR_KEYWORD
        and hint in (Any, object)
        # Signals and steps of Celery, callbacks of LangChain, and arguments for one.
        and name not in ("_", "options")
        and not function.__name__.startswith("on_")
        and "_on_live" not in function.__qualname__
    )


def untyped(module: str) -> set[str]:
    """The parameters of a module's functions that are dictionaries of any keys."""
    found = set()
    for function in functions(import_module(f"spool.{module}")):
        hints = get_type_hints(function)
        hints.pop("return", None)
        for name in hints:
            if takes_any_keywords(function, name, hints[name]) or (
                name not in ANY_JSON and is_any_dictionary(hints[name])
            ):
                found.add(f"{function.__qualname__}({name})")
    return found


@pytest.mark.parametrize("module", use_cases())
def test_no_use_case_takes_a_request_as_a_dictionary(module: str) -> None:
    assert untyped(module) == set()


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (dict[str, Any], True),
        (Mapping[str, Any] | None, True),
        (list[dict[str, Any]], True),
        (Iterable[Mapping[str, Any]], True),
        (dict, True),
        (object, True),
        (dict[str, object], True),
        (dict[str, dict[str, Any]], True),
        (Annotated[dict[str, Any], "a note"], True),
        (frozenset[int], False),
        (dict[str, str], False),
        (Callable[[dict[str, Any]], None], False),
        (str | None, False),
    ],
)
def test_dictionaries_of_any_keys_are_found(hint: Any, expected: bool) -> None:
    assert is_any_dictionary(hint) is expected
