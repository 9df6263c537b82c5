"""The API's own description, as a source of requests."""

from __future__ import annotations

from typing import Any

import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

# A wrong method is a 405 everywhere, so it is not tested for each path.
CONFIG: dict[str, Any] = {"phases": {"coverage": {"unexpected-methods": []}}}

schema = schemathesis.openapi.from_wsgi(
    "/openapi.json",
    get_wsgi_application(),
    config=SchemathesisConfig.from_dict(CONFIG),
)


def tried(times: int) -> settings:
    """Try each operation this many times, with the same requests in every test run."""
    return settings(
        max_examples=times,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
