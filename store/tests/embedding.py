"""A deterministic embedding: each word is a direction, so texts that share words are
near each other. `asked` records the texts of each call.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Sequence

# Enough that no two words of the tests share a direction.
DIMS = 1024
# A text that the model rejects.
REFUSED = "a text that is too long"

asked: list[list[str]] = []


def embed(texts: Sequence[str]) -> list[list[float]]:
    asked.append(list(texts))
    if REFUSED in texts:
        raise ValueError("the text is too long")
    return [_of(text) for text in texts]


async def embed_async(texts: Sequence[str]) -> list[list[float]]:
    return embed(texts)


def broken(texts: Sequence[str]) -> list[list[float]]:
    raise RuntimeError("the provider is down, and this is its secret")


def exits(texts: Sequence[str]) -> list[list[float]]:
    sys.exit("the provider's key is missing")


async def gives_up(texts: Sequence[str]) -> list[list[float]]:
    raise asyncio.CancelledError


def too_short(texts: Sequence[str]) -> list[list[float]]:
    return [[1.0] for _ in texts]


def _of(text: str) -> list[float]:
    vector = [0.0] * DIMS
    for word in text.lower().split():
        digest = hashlib.sha256(word.strip('.,!?"{}:').encode()).digest()
        vector[int.from_bytes(digest[:4]) % DIMS] += 1.0
    return vector
