"""The semantic index: `store.index` in langgraph.json, and the model that it names."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, NoReturn

from django.conf import settings
from langgraph.store.base import (
    Embeddings,
    ensure_embeddings,
    get_text_at_path,
)

from spool.config.env import stop
from spool.config.langgraph_json import langgraph_json
from spool.config.user_objects import load_object
from spool.database.json import dumps, from_jsonb

# Dimensions on which pgvector can build an HNSW index, as `vector` and as `halfvec`.
MAX_VECTOR_DIMS = 2000
MAX_DIMS = 4000
WHOLE_VALUE = "$"
# Texts in one call of the model.
EMBEDDED_AT_ONCE = 100
EMBED_TIMEOUT_SECS = 60


class EmbeddingError(Exception):
    """The model returned something other than embeddings of the configured size."""


@dataclass(frozen=True)
class Index:
    dims: int
    embed: str
    fields: tuple[str, ...]

    @property
    def table(self) -> str:
        """Each configuration has a table, so vectors of two models never mix."""
        whole = json.dumps([self.dims, self.embed, self.fields]).encode()
        return f"store_vectors_{hashlib.sha256(whole).hexdigest()[:12]}"

    @property
    def kind(self) -> str:
        name = "vector" if self.dims <= MAX_VECTOR_DIMS else "halfvec"
        return f"{name}({self.dims})"

    @property
    def may_repeat(self) -> bool:
        """Whether an item may have several vectors."""
        return len(self.fields) > 1 or any(set("*{") & set(f) for f in self.fields)

    def texts(self, value: Any, paths: Any) -> list[str]:
        """The texts of a value to index. `paths` is a put's: None, False or a list."""
        if paths is False:
            return []
        plain = from_jsonb(dumps(value))
        wanted = self.fields if paths is None else paths
        found = [text for path in wanted for text in get_text_at_path(plain, path)]
        return [text for text in found if text.strip()]


class Embed(NamedTuple):
    """Texts to embed: a step of an operation, which is never in a transaction."""

    documents: list[str]
    queries: list[str]


Vector = list[float]


def index_config() -> Index | None:
    """Return the configuration. A bad value stops the process with one line."""
    given = langgraph_json().store.index
    if given is None:
        return None
    if not 0 < given.dims <= MAX_DIMS:
        _stop(f"dims must be a whole number up to {MAX_DIMS}", given.dims)
    if ":" not in given.embed:
        _stop("embed must be provider:model or path.py:function", given.embed)
    return Index(given.dims, given.embed, tuple(given.paths or [WHOLE_VALUE]))


@cache
def embeddings(embed: str) -> Embeddings:
    """Load the model that `embed` names. If it can't be loaded, stop the process."""
    try:
        is_file = embed.rpartition(":")[0].endswith(".py")
        return ensure_embeddings(load_object(embed) if is_file else embed)
    except Exception as exc:
        # Loading it runs code of the operator or of a provider's package.
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        stop(f"{settings.LANGGRAPH_CONFIG}: store.index.embed {embed}: {reason}")


async def embed_texts(index: Index, step: Embed) -> list[Vector]:
    """Embed a step's texts: the vectors of its documents, then those of its queries.

    Raises `EmbeddingError`, and any exception of the model.
    """
    asker = asyncio.current_task()
    try:
        return await _embed_texts(index, step)
    except (SystemExit, asyncio.CancelledError) as exc:
        if asker and asker.cancelling():
            raise
        # The model can't be loaded, or its code tries to exit the process: raise an
        # ordinary exception to the callers instead.
        raise EmbeddingError(f"store.index: {index.embed}: {exc!r}") from exc


async def _embed_texts(index: Index, step: Embed) -> list[Vector]:
    model = embeddings(index.embed)
    vectors: list[Vector] = []
    async with asyncio.timeout(EMBED_TIMEOUT_SECS):
        for first in range(0, len(step.documents), EMBEDDED_AT_ONCE):
            some = step.documents[first : first + EMBEDDED_AT_ONCE]
            made = await model.aembed_documents(some)
            if len(made) != len(some):
                raise EmbeddingError(f"{len(made)} vectors for {len(some)} texts")
            vectors += made
        vectors += await asyncio.gather(*map(model.aembed_query, step.queries))
    return [_checked(index, vector) for vector in vectors]


def _checked(index: Index, vector: Sequence[float]) -> Vector:
    numbers = [float(number) for number in vector]
    if len(numbers) != index.dims:
        raise EmbeddingError(
            f"store.index: {index.embed} returned vectors of {len(numbers)} "
            f"dimensions, but dims is {index.dims}"
        )
    if not all(map(math.isfinite, numbers)):
        raise EmbeddingError(
            f"store.index: {index.embed} returned a value that is not a number"
        )
    return numbers


def _stop(problem: str, given: Any) -> NoReturn:
    stop(f"{settings.LANGGRAPH_CONFIG}: store.index: {problem}, not {given!r}")
