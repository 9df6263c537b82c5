from __future__ import annotations

import logging
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from spool.access.start import check_access
from spool.access.tests.bearers import OWNERS
from spool.access.tests.conftest import Serve
from spool.config.access_mode import is_loopback

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.5", "::1", "[::1]", "localhost"]
)
def test_open_to_this_machine_starts_and_says_so(
    settings: LazySettings, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.HOST = host

    check_access()

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "AUTHENTICATION IS OFF" in caplog.text


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.0.2.1", "spool.example", ""],  # noqa: S104
)
def test_open_to_others_does_not_start(settings: LazySettings, host: str) -> None:
    settings.HOST = host

    with pytest.raises(SystemExit) as stopped:
        check_access()
    with pytest.raises(SystemCheckError, match=r"access\.E001"):
        call_command("check")

    assert "SPOOL_AUTH" in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_open_to_others_starts_where_it_is_said_by_name(
    settings: LazySettings,
) -> None:
    settings.HOST, settings.ALLOW_OPEN = "0.0.0.0", True  # noqa: S104

    check_access()
    call_command("check")


def test_with_keys_any_host_starts(
    settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.HOST, settings.AUTH = "0.0.0.0", ["api_key"]  # noqa: S104

    check_access()

    assert not caplog.records


def test_names_are_not_looked_up() -> None:
    assert not is_loopback("localhost.example")


def test_handlers_close_the_server(
    serve: Serve, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    serve(OWNERS)
    settings.HOST = "0.0.0.0"  # noqa: S104

    check_access()

    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise ValueError('no')", "cannot load"),
        ("import no_such_module", "cannot load"),
        ("auth = 5", "is not a langgraph_sdk.Auth"),
        ("", "has no @authenticate"),
        (
            "@auth.authenticate\nasync def a(token): ...",
            "has an unknown parameter 'token'",
        ),
    ],
)
def test_bad_handlers_stop_the_start(serve: Serve, source: str, problem: str) -> None:
    serve(source or "pass")

    with pytest.raises(SystemExit, match=problem) as stopped:
        check_access()

    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    "cache",
    [[1], {"ttl_seconds": "60"}, {"max_size": -1}, {"cache_keys": "authorization"}],
)
def test_a_bad_cache_stops_the_start(serve: Serve, cache: Any) -> None:
    serve(OWNERS, auth={"cache": cache})

    with pytest.raises(SystemExit, match=r"auth\.cache") as stopped:
        check_access()

    assert "\n" not in str(stopped.value)


def test_handlers_and_settings_are_not_both_set(
    serve: Serve, settings: LazySettings
) -> None:
    serve(OWNERS)
    settings.AUTH = ["api_key"]

    with pytest.raises(SystemExit, match="can't both be set"):
        check_access()
