"""Redis over TLS, like managed services, with a private certificate."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Queue

import pytest
from langgraph_sdk import get_sync_client

from spool.embedded import processes
from spool.embedded.home import Home
from spool.embedded.valkey import Valkey
from spool.tests.conftest import CONFIG
from spool.tests.e2e.starting import reason_of_refusal
from spool.tests.live import serving


@pytest.fixture
def redis_url(certificate: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of a Valkey behind a proxy that terminates TLS."""
    home = Home(tmp_path / "valkey-home")
    server = Valkey(home.path, durable=False)
    with home.log(server.name) as log:
        process = server.start(log)
    try:
        server.wait_ready(process)
        with ending_tls(certificate, server.socket) as port:
            yield f"rediss://localhost:{port}/0"
    finally:
        processes.stop(process, server.stop_signal, 10)


@contextmanager
def ending_tls(certificate: Path, target: Path) -> Iterator[int]:
    """Terminate TLS on a port of `localhost`, for a Unix socket. Gives the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    ports: Queue[int] = Queue()
    loop, enough = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(
            partial(_pass_on, target), "127.0.0.1", 0, ssl=context
        )
        ports.put(server.sockets[0].getsockname()[1])
        await enough.wait()
        server.close()

    # The runner cancels remaining connections at the end.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        thread = threading.Thread(target=runner.run, args=[serve()])
        thread.start()
        try:
            yield ports.get(timeout=10)
        finally:
            loop.call_soon_threadsafe(enough.set)
            thread.join()


async def _pass_on(
    target: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    there, back = await asyncio.open_unix_connection(str(target))
    try:
        await asyncio.gather(_copy(reader, back), _copy(there, writer))
    finally:
        writer.transport.abort()
        back.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # One of the two ends is gone.
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
    writer.close()


def test_redis_is_reached_over_tls(redis_url: str, certificate: Path) -> None:
    url = f"{redis_url}?ssl_ca_certs={certificate}"

    with (
        serving(CONFIG, REDIS_URL=url) as server,
        get_sync_client(url=server.url) as client,
    ):
        parts = list(client.runs.stream(None, "chat", input={}))

    assert [part.event for part in parts] == ["metadata", "values", "end"]


def test_a_redis_without_a_trusted_certificate_is_refused_in_one_line(
    redis_url: str, tmp_path: Path
) -> None:
    line = reason_of_refusal(CONFIG, tmp_path, REDIS_URL=redis_url)

    assert line.startswith("spool: cannot reach Redis (REDIS_URL): ")
    assert "CERTIFICATE_VERIFY_FAILED" in line
