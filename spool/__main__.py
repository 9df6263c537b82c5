"""`python -m spool`: the `spool` command."""

import sys

# `python -m` puts the working directory first on the path, where a user's `calendar.py`
# would hide Python's own. In forked children of the supervisor it is already removed.
if (
    __name__ == "__main__"
    and not sys.flags.safe_path
    and "spool.cli" not in sys.modules
):
    del sys.path[0]

from spool.cli import run

if __name__ == "__main__":
    run()
