from __future__ import annotations

from django.conf import LazySettings
from django.test import Client as Browser

from spool.access.tests.bearers import BY_NAME
from spool.access.tests.conftest import Serve


def test_an_open_server_names_no_way_to_log_in(client: Browser) -> None:
    schema = client.get("/openapi.json").json()

    assert "security" not in schema
    assert "securitySchemes" not in schema.get("components", {})


def test_the_ways_to_log_in_are_named(client: Browser, settings: LazySettings) -> None:
    settings.AUTH = ["api_key", "jwt"]

    schema = client.get("/openapi.json").json()

    assert schema["security"] == [{"ApiKey": []}, {"Token": []}]
    assert schema["components"]["securitySchemes"]["ApiKey"]["name"] == "x-api-key"


def test_handlers_say_it_themselves(serve: Serve, client: Browser) -> None:
    scheme = {"type": "http", "scheme": "basic"}
    own = {
        "securitySchemes": {"Mine": scheme},
        "security": [{"Mine": []}],
        "paths": {"/threads": {"post": {"security": []}}},
    }
    serve(BY_NAME, auth={"openapi": own})

    schema = client.get("/openapi.json").json()

    assert schema["security"] == [{"Mine": []}]
    assert schema["components"]["securitySchemes"]["Mine"] == scheme
    assert schema["paths"]["/threads"]["post"]["security"] == []
