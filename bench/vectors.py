"""An embedding for the store's benchmark, with clusters like those of real texts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

DIMS = 384
CLUSTERS = 1000
# The distance of a text from its centre, in multiples of the distance between centres.
# Beyond 3 the clusters overlap, and "near" has no meaning any more.
SPREAD = 2.2


def embed(texts: Sequence[str]) -> list[list[float]]:
    return [vector(text) for text in texts]


def vector(text: str) -> list[float]:
    """The vector of a text; always the same for the same text."""
    chance = random.Random(text)
    noise = [SPREAD * (2 * chance.random() - 1) for _ in range(DIMS)]
    centre = _centre(chance.randrange(CLUSTERS))
    return [a + b for a, b in zip(centre, noise, strict=True)]


@cache
def _centre(number: int) -> list[float]:
    chance = random.Random(number)
    return [2 * chance.random() - 1 for _ in range(DIMS)]
