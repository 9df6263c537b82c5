"""Servers that get no A2A requests don't load its libraries."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from spool.programs.web import application
application()
print(*(name for name in ("a2a", "google.protobuf", "starlette") if name in sys.modules))
"""


def test_the_library_is_loaded_with_the_first_request() -> None:
    command = [sys.executable, "-P", "-W", "ignore", "-c", CODE]

    loaded = subprocess.run(command, capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []
