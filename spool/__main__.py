"""`python -m spool`: the `spool` command."""

import sys

# `python -m` puts the working directory first, where a user's `calendar.py` would hide
# Python's own. The supervisor's forked children have removed it already.
if (
    __name__ == "__main__"
    and not sys.flags.safe_path
    and "spool.cli" not in sys.modules
):
    del sys.path[0]

from spool.cli import run

if __name__ == "__main__":
    run()
