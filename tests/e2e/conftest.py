from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.company import ENVIRONMENT, Company
from tests.conftest import CONFIG
from tests.live import Server


@pytest.fixture(scope="module")
def staffless() -> Iterator[Server]:
    """A server without workers."""
    server = Server(CONFIG, workers=0, **ENVIRONMENT)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def company(staffless: Server) -> Iterator[Company]:
    """The workers of one test."""
    staffless.wait_until_ready()
    company = Company(staffless)
    yield company
    company.dismiss()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where graphs note what they begin."""
    return tmp_path / "begun"
