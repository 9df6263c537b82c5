"""Removes secrets from what operators read, such as tracebacks."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"

_WORDS = "key|token|secret|password|passwd|authorization"
# No pattern may have an unbounded repetition before its first fixed character: a long
# text would take quadratic time.
_NAMED = re.compile(
    rf"""(?ix)
    (?P<name> (?:{_WORDS}) \b ["']? \s{{0,20}} [=:] \s{{0,20}} )
    (?P<value> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | (?:bearer\s+)? [^\s,;)\]}}]+ )
    """
)
_IN_URL = re.compile(r"(?P<scheme>[a-z0-9+.-]://)(?P<user>[^\s:/@]*):[^\s/@]*@")
_BEARER = re.compile(r"(?i)(?P<bearer>\bbearer\s+)[\w.~+/=-]{8,}")


_SECRET = re.compile(rf"(?i)(?:{_WORDS})$")


def is_secret(name: str) -> bool:
    """Whether a value with this name is hidden."""
    return bool(_SECRET.search(name))


def redacted(value: Any) -> Any:
    """A copy of a JSON document, for users who may not see secrets."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if one and is_secret(str(name)) else redacted(one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [redacted(one) for one in value]
    return without_secrets(value) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    """The text without passwords in URLs, and without values of secret variables.

    A variable, keyword argument or key of a dict is secret if its name ends with key,
    token, secret or password, in any case.
    """
    text = _IN_URL.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    text = _BEARER.sub(rf"\g<bearer>{HIDDEN}", text)
    return _NAMED.sub(rf"\g<name>{HIDDEN}", text)
