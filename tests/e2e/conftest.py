from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from spool.tests.company import ENVIRONMENT, Company
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving

GRAPH = """
from langgraph.graph import START, StateGraph

builder = StateGraph(dict)
builder.add_node("echo", lambda state: state)
builder.add_edge(START, "echo")
graph = builder.compile()
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A `langgraph.json` of one small graph."""
    (tmp_path / "agent.py").write_text(GRAPH)
    file = tmp_path / "langgraph.json"
    file.write_text(
        json.dumps({"dependencies": ["."], "graphs": {"echo": "./agent.py:graph"}})
    )
    return file


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with a key, and its certificate for `localhost`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(hours=1),
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
    )
    return file


@pytest.fixture(scope="module")
def staffless() -> Iterator[Server]:
    """A server without workers."""
    with serving(CONFIG, workers=0, **ENVIRONMENT) as server:
        yield server


@pytest.fixture
def company(staffless: Server) -> Iterator[Company]:
    """The workers of one test."""
    staffless.wait_until_ready()
    company = Company(staffless)
    yield company
    company.dismiss()
