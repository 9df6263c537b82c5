"""The API's own description, as a source of requests and a check of responses."""

from __future__ import annotations

from typing import Any

import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

# A wrong method is a 405 everywhere, so it is not tested for each path.
CONFIG: dict[str, Any] = {"phases": {"coverage": {"unexpected-methods": []}}}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def without_more(raw: dict[str, Any]) -> None:
    """Allow only documented fields in responses, so that none is left undocumented."""
    for name, shape in raw["components"]["schemas"].items():
        if name.endswith("Body") and "properties" in shape:
            shape.setdefault("additionalProperties", False)


schema = schemathesis.openapi.from_wsgi(
    "/openapi.json",
    get_wsgi_application(),
    config=SchemathesisConfig.from_dict(CONFIG),
)
without_more(schema.raw_schema)


def tried(times: int, *, edges: bool = False) -> settings:
    """Try each operation this many times, with the same requests in every test run.

    With `edges`, many more requests are derived from the limits and types of its schema.
    """
    phases = [Phase.generate, Phase.shrink]
    return settings(
        max_examples=times,
        phases=[Phase.explicit, *phases] if edges else phases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def conforms(case: Any, ids: dict[str, Any] | None = None) -> None:
    """Call an operation as generated, and again with the ids of existing rows."""
    case.call_and_validate(checks=CHECKS)
    known = {name: str(value) for name, value in (ids or {}).items()}
    if known.keys() & (case.path_parameters or {}).keys():
        for name in case.path_parameters:
            case.path_parameters[name] = known.get(name, case.path_parameters[name])
        case.call_and_validate(checks=CHECKS)
