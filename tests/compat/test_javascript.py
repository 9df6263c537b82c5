"""The official JavaScript client against the live server, by node's own test runner."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from spool.tests.live import Server

FOLDER = Path(__file__).parent / "js"

NO_NODE = shutil.which("node") is None or shutil.which("npm") is None

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        NO_NODE,
        reason="node and npm are not installed: the JavaScript client is not tested",
    ),
]


@pytest.mark.usefixtures("javascript_client")
def test_the_javascript_client(server: Server) -> None:
    node = subprocess.run(
        ["node", "--test", "--test-reporter=tap"],
        cwd=FOLDER,
        env={**os.environ, "SPOOL_URL": server.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert node.returncode == 0, node.stdout + node.stderr
