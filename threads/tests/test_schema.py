"""The API's own description, against the API: nothing undocumented, and no 5xx."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import status_code_conformance

from assistants.models import Assistant
from threads.models import Thread
from threads.tests.running import run_graph

# A wrong method is a 405 everywhere; that is nothing to repeat for each path.
CONFIG: dict[str, Any] = {"phases": {"coverage": {"unexpected-methods": []}}}
CHECKS = [not_a_server_error, status_code_conformance]
ONE = UUID(int=1)

schema = schemathesis.openapi.from_wsgi(
    "/openapi.json",
    get_wsgi_application(),
    config=SchemathesisConfig.from_dict(CONFIG),
)
ours = schema.include(path_regex=r"^/(assistants|threads)(/|$)").exclude(
    path_regex=r"/(runs|stream|commands)"
)
often = settings(
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

# Requests may close the connection, and with it the transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)


@ours.parametrize()
@often
def test_what_is_documented_is_what_happens(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)

    Assistant.objects.get_or_create(pk=ONE, defaults={"graph_id": "nested"})
    thread, is_new = Thread.objects.get_or_create(
        pk=ONE, defaults={"metadata": {"graph_id": "human"}}
    )
    if is_new:
        run_graph(thread, {"topic": "t"})
    ids = {"assistant_id": str(ONE), "thread_id": str(ONE)}
    for name in case.path_parameters or ():
        case.path_parameters[name] = ids.get(name, case.path_parameters[name])
    case.call_and_validate(checks=CHECKS)
