#!/usr/bin/env python
"""`spool manage`, for who works in a checkout."""

import sys

from spool.cli import main

if __name__ == "__main__":
    # `serve` is a program: it starts the servers that settings name.
    command = [] if sys.argv[1:2] == ["serve"] else ["manage"]
    sys.exit(main([*command, *sys.argv[1:]]))
