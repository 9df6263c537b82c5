"""`manage.py check` on a whole server, and on one whose graph's file is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from spool.assistants.tests.served import serving

pytestmark = pytest.mark.django_db


def test_a_whole_server_passes(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check")

    assert "no issues" in capsys.readouterr().out


def test_a_graph_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    config = tmp_path / "langgraph.json"
    config.write_text('{"graphs": {"lost": "./no.py:graph"}}')

    named = pytest.raises(SystemCheckError, match=r"assistants.E001\) graph 'lost'")
    with serving(config), named:
        call_command("check")
