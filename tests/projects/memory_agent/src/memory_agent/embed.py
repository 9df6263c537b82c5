"""Embeddings that need no key: how often a text has each letter."""

from __future__ import annotations


async def embed(texts: list[str]) -> list[list[float]]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [[text.lower().count(one) + 0.01 for one in letters] for text in texts]
