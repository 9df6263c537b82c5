"""Find the view of a path by the path's first part and its length.

Django tries the patterns of all routes in order, which costs a seventh of a small
request. No pattern here matches a path with another first part, or another number of
parts, so only a few have to be tried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeGuard

from django.urls import ResolverMatch, URLPattern, URLResolver
from django.urls.converters import PathConverter
from django.urls.resolvers import RoutePattern

Key = tuple[str, int]


class Routes:
    """The routes of a URLconf, in the order in which Django would try them."""

    def __init__(self, patterns: Sequence[URLPattern | URLResolver]) -> None:
        self._patterns: defaultdict[Key, list[URLPattern]] = defaultdict(list)
        # First part -> the length from which Django itself has to find the route.
        left: dict[str | None, int] = {}
        for pattern in _flat(patterns):
            first, length = _key(pattern)
            if first is not None and _has_one_length(pattern):
                self._patterns[first, length].append(pattern)
            else:
                left[first] = min(length, left.get(first, length))
        for first, length in list(self._patterns):
            if None in left or length >= left.get(first, length + 1):
                del self._patterns[first, length]

    def find(self, path: str) -> ResolverMatch | None:
        """The route of a path that begins with a slash. None: let Django find it."""
        parts = path.split("/", 2)
        key = (parts[1], path.count("/")) if len(parts) > 1 else ("", 0)
        for pattern in self._patterns.get(key, ()):
            if match := pattern.resolve(path[1:]):
                return match
        return None


@cache
def routes_of(resolver: URLResolver) -> Routes:
    return Routes(resolver.url_patterns)


def _flat(
    patterns: Sequence[URLPattern | URLResolver],
) -> Iterator[URLPattern | URLResolver]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver) and _is_transparent(pattern):
            yield from _flat(pattern.url_patterns)
        else:
            yield pattern


def _is_transparent(resolver: URLResolver) -> bool:
    """Whether the patterns of an include match as if they stood in its place."""
    named = resolver.app_name or resolver.namespace or resolver.default_kwargs
    return not named and str(resolver.pattern) == ""


def _key(pattern: URLPattern | URLResolver) -> tuple[str | None, int]:
    """The first part and the minimum length of its paths.

    The first part is None if it varies.
    """
    first = str(pattern.pattern).partition("/")[0]
    if not isinstance(pattern.pattern, RoutePattern) or "<" in first:
        return None, 0
    return first, str(pattern.pattern).count("/") + 1


def _has_one_length(pattern: URLPattern | URLResolver) -> TypeGuard[URLPattern]:
    converters = pattern.pattern.converters.values()
    varies = any(isinstance(one, PathConverter) for one in converters)
    return isinstance(pattern, URLPattern) and not varies
