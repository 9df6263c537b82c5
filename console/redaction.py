"""Removes secrets from what operators read, such as tracebacks."""

from __future__ import annotations

import re

HIDDEN = "***"

_NAMED = re.compile(
    r"""(?ix)
    (?P<name> \b [\w.-]* (?:key|token|secret|password|passwd|authorization) \b
        ["']? \s* [=:] \s* )
    (?P<value> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | (?:bearer\s+)? [^\s,;)\]}]+ )
    """
)
_IN_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):[^\s/@]*@")
_BEARER = re.compile(r"(?i)(?P<bearer>\bbearer\s+)[\w.~+/=-]{8,}")


def without_secrets(text: str) -> str:
    """The text without passwords in URLs, and without values of secret variables.

    Secret are variables, keyword arguments and keys of a dict whose name ends with
    key, token, secret or password, in any case.
    """
    text = _IN_URL.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    text = _BEARER.sub(rf"\g<bearer>{HIDDEN}", text)
    return _NAMED.sub(rf"\g<name>{HIDDEN}", text)
