"""An embedding for the benchmark of the store: clusters, as those of real texts are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

DIMS = 384
CLUSTERS = 1000
# How far from its centre a text lies, as a part of how far the centres lie apart.
# Beyond 3 the clusters drown, and with them all meaning of "near".
SPREAD = 2.2


def embed(texts: Sequence[str]) -> list[list[float]]:
    return [vector(text) for text in texts]


def vector(text: str) -> list[float]:
    """The same text has the same vector."""
    chance = random.Random(text)
    noise = [SPREAD * (2 * chance.random() - 1) for _ in range(DIMS)]
    centre = _centre(chance.randrange(CLUSTERS))
    return [a + b for a, b in zip(centre, noise, strict=True)]


@cache
def _centre(number: int) -> list[float]:
    chance = random.Random(number)
    return [2 * chance.random() - 1 for _ in range(DIMS)]
