"""What import-linter does not see: modules without a layer, and SQL that points up."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from django.apps import apps

from spool.tests.live import ROOT

CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
# Packages that are not part of the product.
OUTSIDE = {"tests", "bench", "examples"}
# Tables without a model of ours, and the apps that own them.
OTHER_TABLES = {
    "checkpoints": "threads",
    "checkpoint_blobs": "threads",
    "checkpoint_writes": "threads",
    "store_vectors": "store",
}
TABLE_IN_SQL = r"\b(?:FROM|JOIN|UPDATE|INTO)\s+(?:ONLY\s+)?{table}\b"


def layers() -> list[list[str]]:
    """The layers from the top down, each with its parts."""
    return [re.split(r"\s*[|:]\s*", layer) for layer in CONTRACT[0]["layers"]]


def modules() -> list[str]:
    """Every module of the product, without `spool.`."""
    files = [path for folder in folders() for path in folder.rglob("*.py")]
    names = [path.relative_to(ROOT).with_suffix("").parts for path in files]
    return sorted(
        ".".join(name[1:] if name[0] == "spool" else name)
        for name in names
        if "tests" not in name and name[-1] != "__init__"
    )


def folders() -> list[Path]:
    found = [path.parent for path in ROOT.glob("*/__init__.py")]
    return [folder for folder in found if folder.name not in OUTSIDE]


def layer_of(module: str) -> int | None:
    """The index of a module's layer from the top; None for a module without a layer."""
    for depth, parts in enumerate(layers()):
        if any(module == part or module.startswith(f"{part}.") for part in parts):
            return depth
    return None


def test_there_is_one_contract() -> None:
    assert len(CONTRACT) == 1
    assert all(".tests." in one or one.startswith("spool.") for one in ignored())


def ignored() -> list[str]:
    found: list[str] = CONTRACT[0]["ignore_imports"]
    return found


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_layer(module: str) -> None:
    # `spool.apps` registers the commands with Django.
    assert module == "apps" or layer_of(module) is not None


def test_only_programs_import_the_embedded_servers() -> None:
    importing = {
        module
        for module in modules()
        if not module.startswith("embedded.")
        and "spool.embedded" in source_of(module).read_text()
    }

    assert {module.partition(".")[0] for module in importing} <= {"programs"}


def source_of(module: str) -> Path:
    path = Path(*module.split(".")).with_suffix(".py")
    return ROOT / path if (ROOT / path).exists() else ROOT / "spool" / path


def tables() -> dict[str, str]:
    """Each table, and the app that it belongs to."""
    ours = [config for config in apps.get_app_configs() if is_ours(config.name)]
    found = {
        m._meta.db_table: config.label
        for config in ours
        for m in config.models.values()
    }
    return found | OTHER_TABLES


def is_ours(name: str) -> bool:
    return name.startswith("spool.")


@pytest.mark.parametrize("module", modules())
def test_no_sql_names_a_table_of_a_higher_app(module: str) -> None:
    own = layer_of(module)
    texts = "\n".join(texts_in(source_of(module)))

    named = {
        table
        for table in tables()
        if re.search(TABLE_IN_SQL.format(table=table), texts)
    }

    assert {table for table in named if is_above(tables()[table], own)} == set()


def texts_in(path: Path) -> list[str]:
    """The string literals of a file, including those in f-strings."""
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def is_above(app: str, layer: int | None) -> bool:
    lowest = max(
        depth
        for depth, parts in enumerate(layers())
        if any(part.partition(".")[0] == app for part in parts)
    )
    return layer is not None and lowest < layer
