"""The findings of `spool doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK = "ok"
LOOK = "look"
ERROR = "error"


@dataclass(frozen=True)
class Finding:
    subject: str
    state: str
    text: str
