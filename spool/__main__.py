"""`python -m spool`: the `spool` command."""

import sys

from spool.cli import main


def run() -> None:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
