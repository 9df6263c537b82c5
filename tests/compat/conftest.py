"""What all tests with the official clients share."""

from __future__ import annotations

import subprocess

import pytest

from tests.compat.test_javascript import FOLDER


@pytest.fixture(scope="session")
def javascript_client() -> None:
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
