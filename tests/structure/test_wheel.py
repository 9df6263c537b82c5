"""The wheel contains the product: all files of its parts, and no tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Parts that are not in the product.
LEFT_OUT = {"tests", "bench"}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = map(Path, listed.stdout.splitlines())
    return [path for path in paths if (ROOT / path).is_file()]


def place_in_wheel(path: Path) -> str | None:
    """The path of a repository's file in the wheel; None if it is left out."""
    part, *below = path.parts
    is_part = bool(below) and (ROOT / part / "__init__.py").is_file()
    if not is_part or LEFT_OUT & set(path.parts):
        return None
    return str(path if part == "spool" else Path("spool", path))


def build_wheel(folder: Path) -> Path:
    """Build it from a copy, without files of an earlier build in the checkout."""
    for path in tracked():
        (folder / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / "source" / path)
    uv = [str(Path(sys.executable).with_name("uv")), "build", "--quiet", "--wheel"]
    subprocess.run(
        [*uv, "--no-build-isolation", "--python", sys.executable, "--out-dir", folder],
        cwd=folder / "source",
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_the_wheel_holds_each_file_of_the_product(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)

    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    wanted = {place for path in tracked() if (place := place_in_wheel(path))}
    assert wheel.name.startswith("spool_server-")
    assert names == wanted
    assert "spool/py.typed" in names
    assert "spool/runs/migrations/0001_create_runs.py" in names
    assert "spool/config/formats/en/formats.py" in names
