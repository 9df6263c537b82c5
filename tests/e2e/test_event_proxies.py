"""Event streams that move between web processes, and through a proxy that buffers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from spool.tests.company import Company
from spool.tests.e2e.event_clients import check, check_same, storming
from spool.tests.live import ROOT, WAIT_SECS, free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.long]

COUNT = 40
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ""; }}
    upstream webs {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://webs;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering on;
            proxy_read_timeout 2s;
        }}
    }}
}}
"""


@pytest.fixture
def webs(company: Company) -> Iterator[list[str]]:
    """The server's own web process, and two workers of a plain uvicorn."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "spool.config.asgi:application"]
    uvicorn = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "2", "--log-level", "warning"],
        cwd=ROOT,
        env={**company.server.environment(), "PORT": str(port)},
    )
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url))
    yield [company.server.url, url]
    uvicorn.terminate()
    uvicorn.wait(timeout=20)


@pytest.fixture
def proxy(webs: list[str], tmp_path: Path) -> Iterator[str]:
    """nginx before them, which buffers, and cuts connections that are idle for 2 s."""
    port = free_port()
    servers = " ".join(f"server {url.removeprefix('http://')};" for url in webs)
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, port=port, servers=servers))
    nginx = subprocess.Popen(["nginx", "-c", config, "-p", tmp_path])
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url))
    yield url
    nginx.terminate()
    nginx.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ok", timeout=WAIT_SECS).status_code == 200
    except httpx.HTTPError:
        return False


async def test_streams_move_between_web_processes(
    company: Company, webs: list[str]
) -> None:
    company.hire()

    async with storming(webs, threads=8, each=2, count=COUNT) as clients:
        pass

    for client in clients:
        check(client.events, COUNT)
    check_same(clients)


@pytest.mark.needs("nginx")
async def test_a_proxy_neither_delays_nor_loses_events(
    company: Company, proxy: str
) -> None:
    company.hire()

    async with storming([proxy], threads=4, each=2, count=COUNT) as clients:
        pass

    for client in clients:
        check(client.events, COUNT)
    check_same(clients)
