"""The import path, on which users' modules and Spool's must not hide each other."""

from __future__ import annotations

import sys
from pathlib import Path

# The repository's root in a checkout, the package's folder in a wheel. If it is on
# `sys.path`, `import store` finds Spool's app instead of a user's module.
OUR_FOLDER = str(Path(__file__).resolve().parent.parent)


def keep_users_names_free() -> None:
    """Remove the entries of `sys.path` in which Spool's apps are top-level modules.

    The empty string is the working directory, which may be Spool's or a user's.
    """
    sys.path[:] = [entry for entry in sys.path if entry not in ("", OUR_FOLDER)]


def add_users_folder(folder: Path) -> None:
    """Add the folder of a user's modules to `sys.path`.

    It is added last, so that a user's `redis.py` or `calendar.py` does not hide a
    library.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
