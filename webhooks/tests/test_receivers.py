"""Which receivers webhooks are sent to."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import parse_headers
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rest_framework.test import APIClient

from spool.runs.models import Run
from spool.runs.tests.conftest import Receiver
from spool.runs.tests.ending import ended
from spool.threads.models import Thread
from spool.webhooks import deliveries
from spool.webhooks.deliveries import deliver_due

pytestmark = pytest.mark.django_db


def test_redirects_are_not_followed(
    make_run: Callable[..., Run], receiver: Receiver
) -> None:
    receiver.answers, receiver.location = [307], f"{receiver.url}/inside"
    delivery = ended(make_run(webhook=f"{receiver.url}/outside"))

    deliver_due()

    delivery.refresh_from_db()
    assert [call.path for call in receiver.received] == ["/outside"]
    assert delivery.last_status == 307
    assert delivery.delivered_at is None


def test_a_name_that_resolves_to_something_else_later_is_refused(
    client: APIClient,
    thread: Thread,
    receiver: Receiver,
    webhook_config: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    webhook_config()
    port = receiver.url.rpartition(":")[2]
    answers = iter(["93.184.215.14", "127.0.0.1"])
    monkeypatch.setattr(
        "spool.webhooks.addresses.socket.getaddrinfo",
        lambda *a, **kw: found(next(answers)),
    )
    body = {"assistant_id": "echo", "webhook": f"http://hooks.example.com:{port}/"}
    created = client.post(f"/threads/{thread.id}/runs", body, format="json")
    delivery = ended(Run.objects.get())

    deliver_due()

    delivery.refresh_from_db()
    assert created.status_code == 200
    assert delivery.last_error == (
        "refused: hooks.example.com is the loopback address 127.0.0.1"
    )
    assert receiver.received == []


def found(address: str) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]


def test_the_address_that_was_checked_is_the_one_dialled(
    make_run: Callable[..., Run], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.url.rpartition(":")[2]
    asked = []

    def resolve(host: str, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        return found("127.0.0.1")

    ended(make_run(webhook=f"http://hooks.example.com:{port}/x"))
    monkeypatch.setattr("spool.webhooks.addresses.socket.getaddrinfo", resolve)

    deliver_due()

    # The name was resolved once, and the receiver still gets it in the Host header.
    assert asked == ["hooks.example.com"]
    assert receiver.received[0].headers["host"] == f"hooks.example.com:{port}"


def test_tls_knows_the_name_although_the_address_is_dialled(
    make_run: Callable[..., Run],
    receiver: Receiver,
    tls_receiver: tuple[int, list[str | None]],
) -> None:
    port, names = tls_receiver
    delivery = ended(make_run(webhook=f"https://localhost:{port}/"))

    deliver_due()

    delivery.refresh_from_db()
    assert (delivery.last_status, delivery.last_error) == (200, "")
    assert names == ["localhost"]


def test_a_certificate_for_another_name_is_refused(
    make_run: Callable[..., Run],
    receiver: Receiver,
    tls_receiver: tuple[int, list[str | None]],
) -> None:
    port, _ = tls_receiver
    delivery = ended(make_run(webhook=f"https://127.0.0.1:{port}/"))

    deliver_due()

    delivery.refresh_from_db()
    assert "certificate verify failed" in delivery.last_error


@pytest.fixture
def tls_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, list[str | None]]]:
    """A receiver with a certificate for `localhost`, and the names that it was sent."""
    certificate = write_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    deliveries._ssl_context.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_one, args=[server, context])
        thread.start()
        yield server.getsockname()[1], names
        thread.join()
    deliveries._ssl_context.cache_clear()


def answer_one(server: socket.socket, context: ssl.SSLContext) -> None:
    plain, _ = server.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as peer:
            # Read all of it: closing with unread data would reset the connection.
            with peer.makefile("rb") as request:
                request.readline()
                headers = parse_headers(request)
                request.read(int(headers["content-length"]))
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    except OSError:
        plain.close()


def write_certificate(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path
