"""`python -m spool`: the `spool` command."""

import sys

# `python -m` puts the working directory first, where a `calendar.py` of the user's would
# replace Python's own. In a child that the supervisor has forked it is gone already.
if (
    __name__ == "__main__"
    and not sys.flags.safe_path
    and "spool.cli" not in sys.modules
):
    del sys.path[0]

from spool.cli import run

if __name__ == "__main__":
    run()
