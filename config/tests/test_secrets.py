"""Secret settings: bad values are refused, and none is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def complaint(**environment: str) -> str:
    read = subprocess.run(
        [sys.executable, "-c", "import spool.config.settings"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return (read.stdout + read.stderr).strip()


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!!!", "whsec_abc", "whsec_a-b_"])
def test_a_webhook_secret_that_is_no_base64_is_refused(secret: str) -> None:
    assert complaint(WEBHOOK_SECRET=secret) == (
        "spool: WEBHOOK_SECRET must be plain text, or whsec_ followed by base64"
    )


@pytest.mark.parametrize("secret", ["whsec_c3Bvb2w=", "plain", "!!!", ""])
def test_others_are_taken(secret: str) -> None:
    assert complaint(WEBHOOK_SECRET=secret) == ""


def test_the_password_of_a_url_that_is_none_is_not_printed() -> None:
    assert complaint(DATABASE_URL="mysql://me:pa55word@there/db") == (
        "spool: DATABASE_URL is not a Postgres URL"
    )
