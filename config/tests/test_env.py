"""Valid environment variables, and values that stop the start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spool.config.env import (
    env_bool,
    env_float,
    env_int,
    env_list,
    env_secret,
    env_str,
    stop,
)

NAME = "SPOOL_TEST_VALUE"
number = partial(env_int, default=5, minimum=1, maximum=9)
amount = partial(env_float, default=5.0, minimum=0.5)
flag = partial(env_bool, default=True)
names = partial(env_list, default=["a"])


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (number, " 7 ", 7),
        (amount, "0.5", 0.5),
        (flag, "No", False),
        (flag, "on", True),
        (names, "b, c,,", ["b", "c"]),
        (names, ",", []),
        # An empty value, as from a compose file that passes on an unset variable.
        (names, " ", ["a"]),
        (number, "", 5),
        (amount, " ", 5.0),
        (flag, "", True),
    ],
)
def test_values_are_read(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[str], Any], text: str, value: Any
) -> None:
    monkeypatch.setenv(NAME, text)

    assert read(NAME) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((number, text) for text in ("0", "10", "1.5", "many")),
        *((amount, text) for text in ("0.4", "nan", "inf", "1e999", "much")),
        *((flag, text) for text in ("maybe", "2")),
    ],
)
def test_a_bad_value_stops_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[str], Any], text: str
) -> None:
    monkeypatch.setenv(NAME, text)

    with pytest.raises(SystemExit) as stopped:
        read(NAME)

    assert str(stopped.value).startswith(f"spool: {NAME} must be ")
    assert text in str(stopped.value)


def test_the_first_name_that_says_something_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(NAME, " ")
    monkeypatch.setenv(f"{NAME}_ALIAS", "alias")

    assert env_str(NAME, f"{NAME}_ALIAS", default="none") == "alias"
    assert env_str(NAME, default="none") == "none"


def test_a_secret_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    monkeypatch.setenv(NAME, "from the environment")
    assert env_secret(NAME) == "from the environment"

    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))
    assert env_secret(NAME) == "from the file"

    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "nothing"))
    with pytest.raises(
        SystemExit, match=f"{NAME}_FILE: cannot read .*nothing: No such"
    ):
        env_secret(NAME)


def test_what_has_several_lines_is_said_in_one() -> None:
    with pytest.raises(SystemExit, match=r"^spool: first second third$"):
        stop("first\n  second\r\nthird\n")


@pytest.mark.parametrize(
    ("query", "waits"),
    [("", "10 20000"), ("?connect_timeout=3&tcp_user_timeout=0", "3 0")],
)
def test_connections_to_a_postgres_that_vanished_time_out(
    query: str, waits: str
) -> None:
    """Django's connections and the pools' have a timeout, unless the URL sets one."""
    read = """
from django.conf import settings
for given in settings.DATABASE_CONNINFO, settings.DATABASES["default"]["OPTIONS"]:
    print(given["connect_timeout"], given["tcp_user_timeout"])
"""
    url = f"postgresql://user@db.example.com/spool{query}"

    told = subprocess.run(
        [sys.executable, "-c", read],
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.splitlines() == [waits, waits]
