"""Where the packages of `spool` lie in a checkout; all else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# The parts of Spool: folders here, subpackages of `spool` once they are installed.
PARTS = sorted(
    path.parent.name
    for path in ROOT.glob("*/__init__.py")
    if path.parent.name not in {"spool", "tests", "bench"}
)
WITHOUT_TESTS = ("tests", "tests.*", "*.tests", "*.tests.*")

packages = ["spool"]
packages += [f"spool.{name}" for name in find_packages("spool", exclude=WITHOUT_TESTS)]
for part in PARTS:
    packages.append(f"spool.{part}")
    packages += [
        f"spool.{part}.{name}" for name in find_packages(part, exclude=WITHOUT_TESTS)
    ]

setup(
    packages=packages,
    package_dir={"spool": "spool", **{f"spool.{part}": part for part in PARTS}},
)
