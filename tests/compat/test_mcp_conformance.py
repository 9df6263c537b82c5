"""The suite `@modelcontextprotocol/conformance` against a server with graphs for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from spool.tests.compat.javascript import NEEDS_NODE, install
from spool.tests.live import serving

FOLDER = Path(__file__).parent / "mcp_conformance"
MODULES = FOLDER / "node_modules"

pytestmark = [*NEEDS_NODE, pytest.mark.long]


def test_the_conformance_suite(tmp_path: Path) -> None:
    install(FOLDER)
    # The suite needs a newer version of node than many machines have: npm installs it.
    node = MODULES / "node" / "bin" / "node"
    suite = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

    with serving(FOLDER / "langgraph.json") as server:
        ran = subprocess.run(
            [
                *(node, suite, "server", "--suite", "all"),
                *("--url", f"{server.url}/mcp", "--output-dir", tmp_path),
                *("--expected-failures", FOLDER / "baseline.yml"),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    assert ran.returncode == 0, ran.stdout + ran.stderr
