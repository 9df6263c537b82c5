from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import LazySettings
from django.test import Client as Browser
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from spool.access import tokens
from spool.access.tests.people import Person
from spool.config.env import check_jwt
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

SECRET = "a secret of sixty-four bytes, which is what the longest algorithm wants"
PATH = "/threads/nonsense"  # 422 for authenticated callers.


@pytest.fixture
def shared_secret(settings: LazySettings) -> None:
    settings.AUTH, settings.JWT_SECRET = ["jwt"], SECRET
    settings.JWT_ALGORITHMS = ["HS256"]


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "alice", "exp": int(time.time()) + 60, **more}


def signed(key: Any = SECRET, algorithm: str = "HS256", **more: Any) -> str:
    headers = {"kid": more.pop("kid")} if "kid" in more else {}
    given = {k: v for k, v in claims(**more).items() if v is not None}
    return jwt.encode(given, key, algorithm=algorithm, headers=headers)


def status(client: Browser, token: str) -> int:
    return client.get(PATH, headers={"Authorization": f"Bearer {token}"}).status_code


def test_the_claim_is_the_owner(shared_secret: None, client: Browser) -> None:
    headers = {"Authorization": f"Bearer {signed()}"}

    response = client.post(
        "/threads", {}, content_type="application/json", headers=headers
    )

    assert response.status_code == 200
    assert Thread.objects.get().owner == "alice"


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"exp": int(time.time()) - 3600}, "The token has expired"),
        ({"exp": None}, "Invalid token"),
        ({"nbf": int(time.time()) + 3600}, "Invalid token"),
        ({"key": SECRET[::-1]}, "Invalid token"),
        ({"algorithm": "HS512"}, "Invalid token"),
        ({"sub": None}, "Invalid token: no usable claim sub"),
        ({"sub": 5}, "Invalid token: no usable claim sub"),
        ({"sub": ""}, "Invalid token: no usable claim sub"),
        ({"sub": "a\0b"}, "Invalid token: no usable claim sub"),
        ({"sub": "x" * 256}, "Invalid token: no usable claim sub"),
    ],
)
def test_what_is_not_to_be_believed(
    shared_secret: None, client: Browser, change: dict[str, Any], detail: str
) -> None:
    headers = {"Authorization": f"Bearer {signed(**change)}"}

    response = client.get(PATH, headers=headers)

    assert (response.status_code, response.json()) == (401, {"detail": detail})


def test_unsigned_tokens_are_refused(shared_secret: None, client: Browser) -> None:
    token = jwt.encode(claims(), "", algorithm="none")

    assert status(client, token) == 401
    assert status(client, signed().rpartition(".")[0] + ".") == 401


def test_a_little_lateness_is_forgiven(shared_secret: None, client: Browser) -> None:
    assert status(client, signed(exp=int(time.time()) - 10)) == 422
    assert status(client, signed(exp=int(time.time()) - 40)) == 401


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 401),
        ({"iss": "us"}, 401),
        ({"aud": "spool"}, 401),
        ({"iss": "us", "aud": "other"}, 401),
        ({"iss": "them", "aud": "spool"}, 401),
        ({"iss": "us", "aud": "spool"}, 422),
        ({"iss": "us", "aud": ["other", "spool"]}, 422),
    ],
)
def test_issuer_and_audience(
    shared_secret: None,
    settings: LazySettings,
    client: Browser,
    change: dict[str, Any],
    expected: int,
) -> None:
    settings.JWT_ISSUER, settings.JWT_AUDIENCE = "us", ["spool"]

    assert status(client, signed(**change)) == expected


def test_without_an_audience_of_ours_theirs_does_not_matter(
    shared_secret: None, client: Browser
) -> None:
    assert status(client, signed(aud="anything")) == 422


def test_another_claim_can_be_the_owner(
    shared_secret: None, settings: LazySettings
) -> None:
    settings.JWT_IDENTITY_CLAIM = "email"

    caller = tokens.find_caller(signed(email="a@spool.example", jti="x", role="admin"))

    assert caller.identity == "a@spool.example"
    assert caller.user["claims"] == {
        "sub": "alice",
        "email": "a@spool.example",
        "role": "admin",
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("openid threads:read", 200),
        (["threads:*"], 200),
        ("openid", 403),
        ("", 403),
        (None, 403),
        ({"threads:*": True}, 403),
    ],
)
def test_scopes_come_from_a_claim(
    shared_secret: None,
    settings: LazySettings,
    client: Browser,
    given: Any,
    expected: int,
) -> None:
    settings.JWT_SCOPES_CLAIM = "scope"
    headers = {"Authorization": f"Bearer {signed(scope=given)}"}

    response = client.post(
        "/threads/search", {}, content_type="application/json", headers=headers
    )

    assert response.status_code == expected


def test_keys_and_tokens_side_by_side(
    alice: Person, shared_secret: None, settings: LazySettings, client: Browser
) -> None:
    only_tokens = status(client, alice.key)
    settings.AUTH = ["api_key", "jwt"]

    assert only_tokens == 401
    assert status(client, alice.key) == 422
    assert status(client, signed()) == 422
    settings.AUTH = ["api_key"]
    assert status(client, signed()) == 401


def test_a_key_is_no_token(alice: Person, shared_secret: None, client: Browser) -> None:
    assert client.get(PATH, headers={"x-api-key": alice.key}).status_code == 401


# --- Key sets -------------------------------------------------------------------------
@dataclass
class Issuer:
    """Serves a key set that can change, and counts its requests."""

    url: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    broken: bool = False

    def new_key(self, kid: str, kind: str = "RSA") -> Any:
        if kind == "RSA":
            key: Any = rsa.generate_private_key(65537, 2048)
            shown = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
            shown = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self.keys[kid] = {**shown, "kid": kid, "use": "sig"}
        return key


@pytest.fixture
def issuer(settings: LazySettings) -> Iterator[Issuer]:
    issuer = Issuer()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            self.send_response(500 if issuer.broken else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": list(issuer.keys.values())}).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
    settings.AUTH, settings.JWT_JWKS_URL = ["jwt"], issuer.url
    settings.JWT_ALGORITHMS = ["RS256", "ES256"]
    settings.JWT_ISSUER = "us"
    yield issuer
    server.shutdown()
    thread.join()
    server.server_close()


def by(key: Any, kid: str | None, algorithm: str = "RS256") -> str:
    more = {"kid": kid} if kid else {}
    return signed(key, algorithm, iss="us", **more)


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS256"), ("EC", "ES256")])
def test_a_key_of_the_set_is_believed(
    issuer: Issuer, client: Browser, kind: str, algorithm: str
) -> None:
    key = issuer.new_key("one", kind)

    assert status(client, by(key, "one", algorithm)) == 422
    assert status(client, by(key, None, algorithm)) == 422
    assert issuer.asked == 1


def test_another_key_of_the_same_name_is_not(issuer: Issuer, client: Browser) -> None:
    issuer.new_key("one")
    forged = Issuer().new_key("one")

    assert status(client, by(forged, "one")) == 401


def test_a_public_key_is_no_shared_secret(issuer: Issuer, client: Browser) -> None:
    issuer.new_key("one")
    public = json.dumps(issuer.keys["one"]).encode()
    # By hand: the library would not sign with such a key.
    head, body, _ = signed(iss="us", kid="one").split(".")
    digest = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    assert status(client, f"{head}.{body}.{signature}") == 401


def test_rotation(
    issuer: Issuer, client: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = issuer.new_key("old")
    assert status(client, by(old, "old")) == 422
    del issuer.keys["old"]
    new = issuer.new_key("new")

    assert status(client, by(new, "new")) == 401  # The keys have just been fetched.
    monkeypatch.setattr(tokens, "RETRY_SECS", 0)
    assert status(client, by(new, "new")) == 422
    assert status(client, by(old, "old")) == 401


def test_made_up_keys_make_no_requests(issuer: Issuer, client: Browser) -> None:
    issuer.new_key("one")
    forged = Issuer().new_key("x")

    for number in range(20):
        assert status(client, by(forged, f"x{number}")) == 401

    assert issuer.asked == 1


def test_the_last_set_outlasts_an_issuer_that_is_down(
    issuer: Issuer, client: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = issuer.new_key("one")
    assert status(client, by(key, "one")) == 422

    issuer.broken = True
    monkeypatch.setattr(tokens, "FRESH_SECS", 0)
    monkeypatch.setattr(tokens, "RETRY_SECS", 0)

    assert status(client, by(key, "one")) == 422
    assert issuer.asked == 2


def test_an_unreachable_issuer_authenticates_no_one(
    issuer: Issuer, client: Browser
) -> None:
    key = issuer.new_key("one")
    issuer.broken = True

    assert status(client, by(key, "one")) == 401


# --- Settings -------------------------------------------------------------------------
def settings_with(**change: Any) -> None:
    given: dict[str, Any] = {
        "wanted": True,
        "secret": SECRET,
        "jwks_url": "",
        "algorithms": ["HS256"],
        "is_addressed": False,
    }
    check_jwt(**{**given, **change})


KEYS = {"secret": "", "algorithms": ["RS256"], "is_addressed": True}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"wanted": False, "secret": ""},
        {**KEYS, "jwks_url": "https://id.example/jwks"},
        {**KEYS, "jwks_url": "http://localhost:1/jwks"},
    ],
)
def test_good_settings_start(change: dict[str, Any]) -> None:
    settings_with(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"wanted": False},
        {"secret": ""},
        {"jwks_url": "https://id.example/jwks"},
        {"secret": "short"},
        {"algorithms": ["RS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {**KEYS, "jwks_url": "http://id.example/jwks"},
        {**KEYS, "jwks_url": "file:///etc/passwd"},
        {**KEYS, "jwks_url": "https://id.example/jwks", "is_addressed": False},
        {**KEYS, "jwks_url": "https://id.example/jwks", "algorithms": ["HS256"]},
    ],
)
def test_bad_settings_stop_the_start(change: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="SPOOL_"):
        settings_with(**change)
