"""Suites of official JavaScript clients, run by node's own test runner."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

NEEDS_NODE = [
    pytest.mark.e2e,
    pytest.mark.needs("node", "npm"),
]
INSTALL_SECS = 600
SUITE_SECS = 600


def install(folder: Path) -> None:
    """Install what the folder's package-lock.json pins, once for each checkout."""
    installed = folder / "node_modules" / ".package-lock.json"
    wanted = folder / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return
    npm = subprocess.run(
        ["npm", "ci", "--prefer-offline", "--no-progress"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECS,
        check=False,
    )
    assert npm.returncode == 0, npm.stderr


def run_tests(folder: Path, **environment: str) -> None:
    install(folder)
    node = subprocess.run(
        ["node", "--test", "--test-reporter=tap"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SUITE_SECS,
        check=False,
    )
    assert node.returncode == 0, node.stdout + node.stderr
