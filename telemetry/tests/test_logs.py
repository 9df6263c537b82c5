from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from django.test import Client

from spool.telemetry import logs

KEY = "spool_" + "Ab3-_" * 8
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"


@pytest.fixture(autouse=True)
def _context() -> Iterator[None]:
    logs.begin()  # Earlier tests have made requests in this context.
    yield
    logs.begin()


def record(message: str, *args: Any, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("spool", 20, "f.py", 1, message, args, exc_info)


def failed(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError as exc:
        return type(exc), exc, exc.__traceback__


@pytest.mark.parametrize("formatter", [logs.Text(), logs.JSON()])
@pytest.mark.parametrize(
    ("secret", "line"),
    [
        (KEY, f"key {KEY}"),
        (KEY, f"{{'x-api-key': '{KEY}'}}"),
        (TOKEN, f"token {TOKEN} refused"),
        ("c2VjcmV0", "Authorization: Basic c2VjcmV0"),
        ("abcdefghij", "'authorization': 'Bearer abcdefghij'"),
        ("hunter2", "postgresql://spool:hunter2@db.example/spool"),
        ("hunter2", "redis://:hunter2@cache:6379/0"),
        ("sk-proj-0123456789abcdef", "OpenAI said no to sk-proj-0123456789abcdef"),
        ("0123456789abcdef", "lsv2_pt_0123456789abcdef"),
        ("of-another-kind", "{'X-Api-Key': 'of-another-kind'}"),
        ("of-another-kind", "[(b'x-api-key', b'of-another-kind')]"),
        ("of-another-kind", "GET /ok?a=1&access_token=of-another-kind HTTP/1.1"),
    ],
)
def test_no_line_tells_a_secret(
    formatter: logging.Formatter, secret: str, line: str
) -> None:
    shown = formatter.format(record("%s", line, exc_info=failed(line)))

    assert secret not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "line",
    [
        "Bearer of news",
        "Unexpected token: abcdefgh",
        "/ok?keys=all",
        "a basic fact",
        "http://host:8123/threads",
        "spool_key",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert line in logs.Text().format(record(line))


@pytest.mark.parametrize("line", ["a-" * 500_000, "eyJ-" * 250_000])
def test_a_long_line_is_looked_through_once(line: str) -> None:
    """Looking once for each of its words would take days, and block the worker."""
    assert line in logs.Text().format(record(line))


def test_a_json_line_is_one_object_on_one_line() -> None:
    logs.begin(request_id="r-1", run_id=None)
    logs.bind(owner="alice")

    shown = logs.JSON().format(
        record("two\nlines \udcff %s", "x", exc_info=failed("no"))
    )

    line = json.loads(shown)
    assert "\n" not in shown
    assert line["message"] == "two\nlines ? x"
    assert (line["level"], line["logger"]) == ("INFO", "spool")
    assert (line["request_id"], line["owner"]) == ("r-1", "alice")
    assert "run_id" not in line
    assert "ValueError: no" in line["exception"]


def test_a_text_line_names_the_same() -> None:
    logs.begin(run_id="r", thread_id="t")

    assert (
        logs.Text().format(record("done")).endswith("spool: done run_id=r thread_id=t")
    )


def test_one_request_knows_nothing_of_another() -> None:
    copy_context().run(logs.begin, request_id="one")

    assert logs.bound() == {}


def test_a_request_id_is_taken_and_given_back(client: Client) -> None:
    response = client.get("/ok", headers={"x-request-id": "abc/1:2"})

    assert response.headers["x-request-id"] == "abc/1:2"


@pytest.mark.parametrize("given", ["", "two\nlines", "x" * 129, "a b", "<script>", "é"])
def test_another_is_made_where_it_is_none(client: Client, given: str) -> None:
    headers = {"x-request-id": given} if given else {}

    first, second = (client.get("/ok", headers=headers) for _ in range(2))

    made = first.headers["x-request-id"]
    assert len(made) == 36
    assert made != second.headers["x-request-id"]


def test_the_lines_of_a_request_name_it(client: Client) -> None:
    lines = []

    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(logs.Text().format(record))

    listening = Listen()
    logging.getLogger("django.request").addHandler(listening)
    client.get("/nothing/here", headers={"x-request-id": "abc"})
    logging.getLogger("django.request").removeHandler(listening)

    assert any("/nothing/here" in line and "request_id=abc" in line for line in lines)
