"""The routes that `web.routing` finds are those that Django finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, ResolverMatch, get_resolver, include, path, re_path

from spool.access.tests.routes import routes
from spool.web.routing import Routes, routes_of

# Parts of paths where an id may be: ids, and other texts.
VALUES = (str(uuid4()), "nonsense", "search", "crons", "a%2Fb", "a\nb", "")


def paths() -> Iterator[str]:
    for route in {route.path for route in routes()}:
        for value in VALUES:
            filled = re.sub(r"\{\w+\}", value.replace("\n", r"\n"), route)
            yield from (filled, f"{filled}/", f"{filled}/more")
    yield from ("/", "/ok", "/admin", "/admin/", "/admin/runs/run/", "/nothing", "//")


def of_django(place: str) -> ResolverMatch | None:
    try:
        return get_resolver().resolve(place)
    except Resolver404:
        return None


def test_the_same_routes_are_found() -> None:
    ours = routes_of(get_resolver())
    found = 0
    for place in paths():
        match, expected = ours.find(place), of_django(place)
        if match is None:  # Django finds the route itself.
            continue
        found += 1
        assert expected is not None, place
        for name in ("func", "args", "kwargs", "route", "url_name"):
            assert getattr(match, name) == getattr(expected, name), place
    assert found > len(routes())


def test_almost_no_route_of_the_api_is_left_to_django() -> None:
    ours = routes_of(get_resolver())

    left = {
        route.path
        for route in routes()
        if not ours.find(re.sub(r"\{\w+\}", str(uuid4()), route.path))
    }

    assert left == {"/assistants/{assistant_id}/subgraphs/{namespace}"}


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize(
    "pattern",
    [
        path("a/<path:rest>", view),
        path("a/", include([path("<name>", view)])),
        path("<name>/b", view),
        re_path("a/.*", view),
    ],
)
def test_django_is_asked_if_another_route_may_match(pattern: object) -> None:
    assert Routes([pattern, path("a/b", view)]).find("/a/b") is None  # type: ignore[list-item]


def test_the_order_of_routes_counts() -> None:
    found = Routes([path("a/b", view, name="first"), path("a/<x>", view)]).find("/a/b")

    assert found
    assert found.url_name == "first"
