"""Django's checks of a server behind TLS, and the effects of the setting for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PUBLIC = "https://spool.example.com"
SHOW = """
import json
from django.conf import settings
names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS",
    "SECURE_PROXY_SSL_HEADER", "CSRF_TRUSTED_ORIGINS", "PUBLIC_URL")
print(json.dumps({name: getattr(settings, name) for name in names}))
"""


def managed(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SECRET_KEY": "a key that is long enough " * 3,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_server_behind_tls_has_no_warning() -> None:
    checked = managed("check", "--deploy", "--tag", "security", SPOOL_PUBLIC_URL=PUBLIC)

    assert "no issues" in checked.stdout + checked.stderr


def shown(url: str) -> Any:
    found = managed("shell", "-v", "0", "-c", SHOW, SPOOL_PUBLIC_URL=url)
    return json.loads(found.stdout)


def test_a_public_url_turns_on_what_tls_needs() -> None:
    assert shown(f"{PUBLIC}/") == {
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SECURE_HSTS_SECONDS": 365 * 24 * 3600,
        "SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"],
        "CSRF_TRUSTED_ORIGINS": [PUBLIC],
        "PUBLIC_URL": PUBLIC,
    }


def test_one_without_tls_turns_on_nothing() -> None:
    found = shown("http://spool.example.com:8080")

    assert found["SESSION_COOKIE_SECURE"] is False
    assert found["SECURE_PROXY_SSL_HEADER"] is None
    assert found["CSRF_TRUSTED_ORIGINS"] == ["http://spool.example.com:8080"]


@pytest.mark.parametrize(
    "url", ["spool.example.com", "ftp://x", "https://", "https://x:y"]
)
def test_what_is_no_url_stops_the_start(url: str) -> None:
    found = managed("check", SPOOL_PUBLIC_URL=url)

    assert found.returncode == 1
    assert found.stderr.startswith("spool: SPOOL_PUBLIC_URL must be a URL")
