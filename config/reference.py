"""The table of `langgraph.json` in docs/configuration.md, from the model of the file.

`python -m spool.config.reference docs/configuration.md` writes it into the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from spool.config.langgraph_schema import LanggraphJson, Section

BEGIN = "<!-- langgraph.json: written by `python -m spool.config.reference` -->\n"
END = "<!-- end of langgraph.json -->\n"


def with_table(page: str) -> str:
    """The page, with the table between its marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def table() -> str:
    """A row for each supported key."""
    rows = [
        f"| `{key}` | {meaning} | {default} |"
        for key, meaning, default in _rows(LanggraphJson, "")
    ]
    return "\n".join(["| key | meaning | default |", "|---|---|---|", *rows, ""])


def _rows(model: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = _section_in(field.annotation)
        yield key, field.description or "", "" if inner else _default(field)
        if inner:
            each = ".*" if "dict" in str(field.annotation) else ""
            yield from _rows(inner, f"{key}{each}.")


def _section_in(annotation: Any) -> type[Section] | None:
    """The `Section` of an annotation: plain, optional, or a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = (_section_in(argument) for argument in get_args(annotation))
    return next(filter(None, found), None)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, [], {}):
        return "none"
    value = field.default
    shown = str(value).lower() if isinstance(value, bool) else value
    shown = ", ".join(shown) if isinstance(shown, list) else shown
    return f"`{shown}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))
