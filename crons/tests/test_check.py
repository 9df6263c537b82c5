"""`manage.py check` on a whole server, and on one with a graph that is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from crons.tests.conftest import forget_graphs

pytestmark = pytest.mark.django_db


def test_a_whole_server_passes(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check")

    assert "no issues" in capsys.readouterr().out


def test_a_graph_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "langgraph.json"
    config.write_text('{"graphs": {"lost": "./no.py:graph"}}')
    with monkeypatch.context() as patch:
        patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", config)
        forget_graphs()

        with pytest.raises(SystemCheckError, match=r"assistants.E001\) graph 'lost'"):
            call_command("check")

    forget_graphs()
