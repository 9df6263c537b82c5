"""The `spool` command's help, version, and errors for invalid arguments."""

from __future__ import annotations

import argparse
import os

import pytest

from spool import cli


@pytest.mark.parametrize("name", sorted(cli.PROGRAMS))
def test_help_needs_no_servers(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")

    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: spool {name} ")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["web", "--wings"]])
def test_what_is_no_command_ends_with_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2
    assert "usage: spool" in capsys.readouterr().err


def test_config_names_the_langgraph_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGGRAPH_CONFIG", "theirs.json")
    seen: list[str] = []

    def main(given: argparse.Namespace) -> int:
        seen.append(os.environ["LANGGRAPH_CONFIG"])
        return 0

    monkeypatch.setattr("spool.programs.beat.main", main)

    assert cli.main(["beat", "--config", "mine.json"]) == 0
    assert seen == ["mine.json"]


def test_programs_can_be_told_where_they_listen() -> None:
    given = cli.parser().parse_args(["web", "--host", "::1", "--port", "9000"])

    assert isinstance(given, argparse.Namespace)
    assert (given.host, given.port) == ("::1", "9000")
