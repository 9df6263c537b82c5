"""What `import` finds: a user's modules keep their names, and ours keep ours."""

from __future__ import annotations

import sys
from pathlib import Path

# The repository's root in a checkout, the package's folder in a wheel. With either on
# the path, `import store` would find our app instead of a user's module.
OUR_FOLDER = str(Path(__file__).resolve().parent.parent)


def keep_users_names_free() -> None:
    """Remove the entries of `sys.path` below which our apps have bare names.

    The empty string is the working directory, which is as often ours as a user's.
    """
    sys.path[:] = [entry for entry in sys.path if entry not in ("", OUR_FOLDER)]


def add_users_folder(folder: Path) -> None:
    """Let a user's modules be imported.

    Last, so that a `redis.py` or a `calendar.py` of theirs does not replace a library.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
