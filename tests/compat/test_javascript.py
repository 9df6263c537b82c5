"""The official JavaScript client against the live server, by node's own test runner."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live import Server

FOLDER = Path(__file__).parent / "js"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None,
        reason="node and npm are not installed: the JavaScript client is not tested",
    ),
]


@pytest.fixture(scope="module")
def _installed() -> None:
    """The client, as package-lock.json pins it; installed once for a checkout."""
    installed = FOLDER / "node_modules" / ".package-lock.json"
    wanted = FOLDER / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    npm = subprocess.run(
        ["npm", "ci", "--prefer-offline", "--no-progress"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert npm.returncode == 0, npm.stderr


@pytest.mark.usefixtures("_installed")
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
