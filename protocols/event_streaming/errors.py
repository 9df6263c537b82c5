"""Refusals of the protocol, with its own error codes."""

from __future__ import annotations

from typing import Literal

from rest_framework.exceptions import APIException, ValidationError

from spool.web import errors

Code = Literal[
    "invalid_argument",
    "unknown_command",
    "unknown_error",
    "no_such_run",
    "no_such_subscription",
    "no_such_namespace",
    "no_such_interrupt",
    "no_such_checkpoint",
    "permission_denied",
    "not_supported",
]


class Refusal(Exception):
    """A command that is answered with an error."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code


def refusal_of(exc: APIException) -> Refusal:
    """Convert an exception for which REST routes would answer with a status code."""
    if isinstance(exc, ValidationError):
        return Refusal("invalid_argument", "; ".join(errors.lines(exc.detail)))
    if exc.status_code == 403:
        return Refusal("permission_denied", "Forbidden")
    return Refusal("unknown_error", f"{exc.status_code}: {exc.detail}")
