from __future__ import annotations

import logging

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from access.start import check_access, is_loopback

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
    assert "NOBODY HAS TO LOG IN" in caplog.text


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
