"""The store for the API: operations on Django's connection."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connection
from langgraph.store.base import Op

from store.operations import Row, Statement, Steps, batch, check

T = TypeVar("T")


def perform(owner: str, op: Op) -> Any:
    """Carry out one operation. Raises `ValueError` for one that is not allowed."""
    check(owner, op)
    [result] = _run(batch(owner, [op]))
    return result


def _run(steps: Steps[T]) -> T:
    try:
        statement = next(steps)
        while True:
            statement = steps.send(_rows(statement))
    except StopIteration as done:
        result: T = done.value
        return result


def _rows(statement: Statement) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement.sql, statement.params)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
