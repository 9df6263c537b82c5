"""Typed environment variables. A bad value stops the process with one line."""

from __future__ import annotations

import base64
import json
import math
import os
import socket
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

SETTINGS = "spool.config.settings"
OLD_SETTINGS = "config.settings"

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


def stop(message: str) -> NoReturn:
    """End the process with one line on stderr and exit status 1.

    Line breaks in the message, as of an exception, become spaces.
    """
    raise SystemExit(f"spool: {' '.join(message.split())}")


def choose_settings() -> None:
    """Set `DJANGO_SETTINGS_MODULE`, even if another Django site has exported one."""
    if os.environ.get("DJANGO_SETTINGS_MODULE") == OLD_SETTINGS:
        stop(
            f"DJANGO_SETTINGS_MODULE={OLD_SETTINGS} is of an older version: unset it; "
            "`spool manage …` finds the settings by itself"
        )
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS


def env_str(*names: str, default: str = "") -> str:
    """The first of `names` (aliases) that is set and not empty."""
    for name in names:
        if value := os.environ.get(name, "").strip():
            return value
    return default


def env_bool(name: str, *, default: bool) -> bool:
    value = env_str(name)
    if not value:
        return default
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    stop(f"{name} must be true or false, not {value!r}")


def env_int(name: str, *, default: int, minimum: int = 0, maximum: int = 2**31) -> int:
    text = env_str(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        stop(f"{name} must be a whole number, not {text!r}")
    if not minimum <= value <= maximum:
        stop(f"{name} must be between {minimum} and {maximum}, not {value}")
    return value


def env_float(name: str, *, default: float, minimum: float = 0.0) -> float:
    text = env_str(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        stop(f"{name} must be a number, not {text!r}")
    if not minimum <= value < math.inf:
        stop(f"{name} must be at least {minimum:g}, not {text}")
    return value


def env_list(name: str, *, default: list[str]) -> list[str]:
    """A comma-separated list. Empty entries are dropped."""
    if not env_str(name):
        return default
    return [part.strip() for part in os.environ[name].split(",") if part.strip()]


def env_secret(name: str, *, default: str = "") -> str:
    """`NAME`, or the contents of the file named by `NAME_FILE`."""
    if path := env_str(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as exc:
            stop(f"{name}_FILE: cannot read {path}: {exc.strerror}")
    return env_str(name, default=default)


def env_url(name: str) -> str:
    """An http or https URL without a trailing slash; empty if it is not set."""
    text = env_str(name)
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        is_url = (
            parts.scheme in ("http", "https") and parts.hostname and not parts.query
        )
        _ = parts.port  # Raises if it is not a number.
    except ValueError:
        is_url = None
    if not is_url:
        stop(f"{name} must be a URL like https://spool.example.com, not {text!r}")
    return text.rstrip("/")


def origin_of(url: str) -> str:
    """The origin as browsers write it: scheme, host, and a port if not the default."""
    parts = urlsplit(url.lower())
    own_port = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, own_port) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def check_webhook_secret(secret: str) -> None:
    """Refuse a `whsec_` secret that is not base64: its key would be empty."""
    encoded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if encoded != secret and not key:
        stop("WEBHOOK_SECRET must be plain text, or whsec_ followed by base64")


def running_url(home: Path, name: str) -> str:
    """The URL that a server running in this home has published, or an empty string."""
    try:
        urls: dict[str, str] = json.loads((home / "urls.json").read_text())
    except (OSError, ValueError):
        return ""
    return urls.get(name, "")


def beat_file(home: Path) -> Path:
    """The file whose modification time is the last activity of this machine's beat."""
    return home / f"beat.{socket.gethostname()}"


SYMMETRIC = {"HS256", "HS384", "HS512"}
ASYMMETRIC = {
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
}
MIN_SECRET_BYTES = 32


def check_jwt(
    *,
    wanted: bool,
    secret: str,
    jwks_url: str,
    algorithms: list[str],
    is_addressed: bool,
) -> None:
    """Refuse settings for tokens that contradict each other or are not secure."""
    if not wanted:
        if secret or jwks_url:
            stop("SPOOL_JWT_… is set, but SPOOL_AUTH does not include jwt")
        return
    if bool(secret) == bool(jwks_url):
        stop("SPOOL_AUTH=jwt needs SPOOL_JWT_SECRET or SPOOL_JWT_JWKS_URL, not both")
    if secret and len(secret.encode()) < MIN_SECRET_BYTES:
        stop(f"SPOOL_JWT_SECRET must have at least {MIN_SECRET_BYTES} bytes")
    # A public key must never be used as a shared secret.
    fitting = SYMMETRIC if secret else ASYMMETRIC
    if not algorithms or set(algorithms) - fitting:
        stop(f"SPOOL_JWT_ALGORITHMS must only contain {', '.join(sorted(fitting))}")
    if jwks_url:
        _check_jwks(jwks_url, is_addressed)


def _check_jwks(url: str, is_addressed: bool) -> None:
    parts = urlsplit(url)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        stop("SPOOL_JWT_JWKS_URL must begin with https://")
    if not is_addressed:
        # The issuer's keys also sign tokens for its other services.
        stop("SPOOL_JWT_JWKS_URL needs SPOOL_JWT_AUDIENCE or SPOOL_JWT_ISSUER")
