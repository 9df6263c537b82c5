"""Starts that must fail: each prints the reason in one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from spool.tests.e2e.starting import given_servers, reason_of_refusal, refused

pytestmark = pytest.mark.e2e


def test_a_port_in_use_is_refused(config: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        lines = refused(config, tmp_path, "--port", str(port))

    assert lines == [
        f"spool: cannot listen on 127.0.0.1:{port}: Address already in use; choose "
        "another with --port (or PORT)"
    ]


@pytest.mark.parametrize(
    ("variable", "url", "reason"),
    [
        (
            "DATABASE_URL",
            "postgresql://x@127.0.0.1:1/x",
            "cannot reach Postgres (DATABASE_URL)",
        ),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "cannot reach Redis (REDIS_URL)"),
        ("REDIS_URL", "localhost", "cannot reach Redis (REDIS_URL)"),
        ("PORT", "eight", "--port must be a number"),
        ("N_JOBS_PER_WORKER", "many", "N_JOBS_PER_WORKER must be"),
        ("HOST", " ", "--host must name an address"),
        ("LANGGRAPH_HTTP", '{"cors": 5}', "langgraph.json: http.cors must be"),
        (
            "LANGGRAPH_HTTP",
            '{"configurable_headers": {"includes": "x"}}',
            "langgraph.json: http.configurable_headers.includes must be",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    config: Path, tmp_path: Path, variable: str, url: str, reason: str
) -> None:
    given = {**given_servers(), variable: url}

    line = reason_of_refusal(config, tmp_path, **given)

    assert line.startswith(f"spool: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", "graphs"),
        ('{"graphs": {"echo": 5}}', "graphs.echo"),
        ('{"graphs": {"echo": "./agent.py"}}', "graphs.echo"),
        ('{"graphs": {"echo": "./nowhere.py:graph"}}', "echo"),
        ('{"graphs": {"echo": "./agent.py:missing"}}', "echo"),
        ('{"graphs": {"echo": "./agent.ts:graph"}}', "agent.ts is not a Python file"),
        ('{"graphs": {"echo": "./agent.py:graph"}, "env": 5}', "env"),
        ('{"graphs": {"echo": "./agent.py:graph"}, "dependencies": [5]}', "dependen"),
        (
            '{"graphs": {"echo": {"path": "./agent.py:graph", "description": 5}}}',
            "graphs.echo.description",
        ),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_broken_langgraph_json_is_one_line_that_names_the_key(
    config: Path, tmp_path: Path, text: str, reason: str
) -> None:
    config.write_bytes(text.encode(errors="surrogateescape"))

    line = reason_of_refusal(config, tmp_path, **given_servers())

    assert line.startswith("spool: ")
    assert reason in line


@pytest.mark.parametrize(
    ("statement", "exception"),
    [
        ("raise RuntimeError('no model')", "RuntimeError: no model"),
        ("raise ValueError('1 error\\nkey\\n  is missing')", "1 error key is missing"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_graph_that_fails_to_import_names_graph_file_line_and_exception(
    config: Path, tmp_path: Path, statement: str, exception: str
) -> None:
    (tmp_path / "agent.py").write_text(f"x = 1\n\n{statement}\n")

    line = reason_of_refusal(config, tmp_path, **given_servers())

    assert "graph 'echo'" in line
    assert f"{tmp_path / 'agent.py'}:3" in line
    assert exception in line


def test_routes_that_cannot_be_loaded_are_one_line(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "pages.py").write_text("raise LookupError('no pages')")
    pages = {"LANGGRAPH_HTTP": '{"app": "./pages.py:app"}'}

    line = reason_of_refusal(config, tmp_path, **pages, **given_servers())

    assert line == (
        "spool: http.app: cannot load ./pages.py:app: LookupError: no pages"
    )


def test_a_database_that_cannot_be_migrated_is_one_line(
    config: Path, tmp_path: Path
) -> None:
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS reader")
        conn.execute("CREATE ROLE reader LOGIN")
        conn.execute("DROP DATABASE IF EXISTS readable")
        conn.execute("CREATE DATABASE readable")
    readable = make_conninfo(url, user="reader", dbname="readable")

    line = reason_of_refusal(
        config, tmp_path, **{**given_servers(), "DATABASE_URL": readable}
    )

    assert line.startswith("spool: cannot migrate the database (DATABASE_URL): ")
    assert "permission denied for schema public" in line


def test_no_config_at_all_is_refused(tmp_path: Path) -> None:
    line = reason_of_refusal(tmp_path / "none.json", tmp_path)

    assert line == (
        f"spool: {tmp_path / 'none.json'} does not exist: set --config (or "
        "LANGGRAPH_CONFIG)"
    )


def test_a_worker_whose_graph_is_broken_says_so(config: Path) -> None:
    config.write_text('{"graphs": {"echo": "./agent.py:missing"}}')

    start = subprocess.run(
        [sys.executable, "-m", "spool", "worker", "--config", str(config)],
        env=os.environ | given_servers(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert start.returncode == 1
    assert "spool: graph 'echo' (./agent.py:missing)" in start.stderr
