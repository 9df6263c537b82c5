"""The store for the API: operations on Django's connection."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

from django.db import transaction
from langgraph.store.base import Op
from rest_framework.exceptions import APIException

from spool.database import prepared
from spool.database.loop import shared_loop
from spool.store.index import Embed, Vector, embed_texts, index_config
from spool.store.items import NO_EXTRAS, ApiExtras
from spool.store.models import StoreItem
from spool.store.operations import (
    Row,
    Statement,
    Step,
    Steps,
    Together,
    batch,
    check,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)


class EmbeddingFailed(APIException):
    status_code = 503
    default_detail = "The embedding model failed: try again"


def perform(owner: str, op: Op, extras: ApiExtras = NO_EXTRAS) -> Any:
    """Perform one operation. Raises `ValueError` if it is not allowed."""
    check(owner, op)
    [result] = _run(batch(owner, [op], extras=extras))
    return result


def _run(steps: Steps[T]) -> T:
    try:
        step = next(steps)
        while True:
            step = steps.send(_do(step))
    except StopIteration as done:
        result: T = done.value
        return result


def _do(step: Step) -> Any:
    if isinstance(step, Embed):
        return _embed(step)
    if isinstance(step, Together):
        with transaction.atomic():
            return [_rows(statement) for statement in step.statements][-1]
    return _rows(step)


def _embed(step: Embed) -> list[Vector]:
    index = index_config()
    try:
        return shared_loop().run(embed_texts(index, step)) if index else []
    except Exception as exc:
        # The model is external code: a provider's, or the operator's own function.
        logger.exception("store: the embedding model failed")
        raise EmbeddingFailed from exc


def _rows(statement: Statement) -> list[Row]:
    return prepared.fetch_dicts(
        statement.sql, statement.params, is_constant=statement.is_constant
    )


def delete_owned_by(owner: str) -> int:
    """Delete all items of an owner. Return their number."""
    found = StoreItem.objects.filter(owner=owner).delete()[1]
    return found.get(StoreItem._meta.label, 0)
