"""The documentation agrees with the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from spool.web.openapi import schema

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]


def read_variables() -> set[str]:
    """The names that `settings.py` reads from the environment."""
    tree = ast.parse((ROOT / "config" / "settings.py").read_text())
    return {
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id.startswith("env_")
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    documented = {
        name
        for row in re.findall(r"^\| (`[A-Z].*?) \|", page, re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row)
    }

    # OpenTelemetry's library reads its own variables.
    ours = {name for name in documented if not name.startswith("OTEL_")}
    assert ours == read_variables()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_schema_leaves_nothing_to_guess(tmp_path: Path) -> None:
    """Otherwise `/docs` offers invalid values, and each start logs warnings."""
    page = tmp_path / "openapi.yml"

    call_command("spectacular", file=str(page), fail_on_warn=True)

    assert page.read_text().startswith("openapi: 3.")


def described(shape: Any) -> bool:
    """Whether a schema describes more than any JSON."""
    parts = [*shape.get("anyOf", []), *shape.get("allOf", []), *shape.get("oneOf", [])]
    if parts:
        return all(described(part) for part in parts)
    if shape.get("type") == "array":
        return "items" in shape
    if shape.get("type") == "object":
        return bool(
            shape.get("properties")
            or shape.get("additionalProperties")
            or shape.get("maxProperties") == 0
        )
    return "$ref" in shape or "type" in shape


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema(True)["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


ANSWERS = [
    (f"{name}: {code}", kind, answer.get("schema", {}))
    for name, operation in operations()
    for code, response in operation["responses"].items()
    for kind, answer in response.get("content", {}).items()
]


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, id=name) for name, _, shape in ANSWERS]
)
def test_every_answer_is_typed(shape: dict[str, Any]) -> None:
    assert described(shape)


def test_every_operation_describes_what_it_answers() -> None:
    without = [
        name
        for name, operation in operations()
        if not any(
            code == "204" or code == "202" or response.get("content")
            for code, response in operation["responses"].items()
            if code.startswith("2")
        )
    ]

    assert without == []


def test_what_is_no_json_says_so() -> None:
    kinds = {kind for name, kind, _ in ANSWERS if name.endswith("/stream: 200")}

    assert kinds == {"text/event-stream"}


@pytest.mark.parametrize(
    ("operation", "place", "name"),
    [
        ("get /threads/{thread_id}", "query", "include"),
        ("patch /threads/{thread_id}", "header", "Prefer"),
        ("get /threads/{thread_id}/stream", "header", "Last-Event-ID"),
        ("get /threads/{thread_id}/runs/{run_id}/stream", "header", "Last-Event-ID"),
        ("post /runs/cancel", "query", "action"),
        ("get /metrics", "query", "format"),
    ],
)
def test_parameters_are_listed(operation: str, place: str, name: str) -> None:
    method, path = operation.split()
    given = schema(True)["paths"][path][method]["parameters"]

    assert (place, name) in {(one["in"], one["name"]) for one in given}


def test_bodies_and_queries_are_those_of_the_method() -> None:
    paths = schema(True)["paths"]
    history = paths["/threads/{thread_id}/history"]

    assert "requestBody" in paths["/store/items"]["delete"]
    assert [one["in"] for one in history["post"]["parameters"]] == ["path"]
    assert "requestBody" not in history["get"]


def test_ids_in_paths_are_uuids() -> None:
    (thread_id,) = schema(True)["paths"]["/threads/{thread_id}"]["delete"]["parameters"]

    assert thread_id["schema"] == {"type": "string", "format": "uuid"}
