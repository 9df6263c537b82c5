"""`manage.py check`: every graph of langgraph.json can be loaded."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error

from spool.assistants.graphs import registry

HINT = "Mend langgraph.json, or the file that it names; LANGGRAPH_CONFIG says which."


def check_graphs(**kwargs: Any) -> list[CheckMessage]:
    try:
        registry()
    except SystemExit as exc:
        text = str(exc).removeprefix("spool: ")
        return [Error(text, hint=HINT, id="assistants.E001")]
    return []
