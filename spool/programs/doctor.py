"""`spool doctor`: shows the configuration, the state of servers, and problems.

Prints text, or JSON with `--json`. The exit status is 1 if there is an error, otherwise
0, even if there are warnings.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from importlib import import_module

from spool.programs.findings import ERROR, Finding

MARKS = {"ok": "ok     ", "look": "look at", "error": "WRONG  "}


def main(given: argparse.Namespace) -> int:
    found = find()
    is_well = not any(finding.state == ERROR for finding in found)
    if given.json:
        findings = [asdict(finding) for finding in found]
        print(json.dumps({"ok": is_well, "findings": findings}, indent=2))
    else:
        for finding in found:
            print(f"{MARKS[finding.state]}  {finding.subject:<12}  {finding.text}")
    return 0 if is_well else 1


def find() -> list[Finding]:
    try:
        # Not imported above: it reads settings, which may be invalid.
        diagnosis = import_module("spool.programs.diagnosis")
        found: list[Finding] = diagnosis.find()
    except SystemExit as exc:
        return [Finding("settings", ERROR, str(exc).removeprefix("spool: "))]
    return found
