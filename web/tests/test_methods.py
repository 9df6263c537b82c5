"""OPTIONS on every route."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

pytestmark = pytest.mark.django_db


def routes(patterns: Any, prefix: str = "") -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver) and not path.startswith("admin"):
            found += routes(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            found.append("/" + re.sub(r"<[^>]+>", lambda _: str(uuid4()), path))
    return found


def test_options_fails_on_no_route(client: Client) -> None:
    paths = routes(get_resolver().url_patterns)

    answers = {path: client.options(path).status_code for path in paths}

    assert len(answers) > 40
    assert {path: code for path, code in answers.items() if code >= 500} == {}
