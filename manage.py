#!/usr/bin/env python
import os
import sys

from django.core.management import execute_from_command_line

from embedded.__main__ import main as serve

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    # Before settings are read: it is what starts the servers that they name.
    if sys.argv[1:2] == ["serve"]:
        sys.exit(serve(sys.argv[2:]))
    execute_from_command_line(sys.argv)
