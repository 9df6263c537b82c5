"""Spool as operators deploy it: every part is a separate process behind a real proxy.

Postgres is behind PgBouncer in transaction mode, Redis has TLS and an ACL, and nginx
has its own configuration and the `server` of our docs. There are two web processes, two
workers and two beats, each with a separate home, as on different machines.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from spool.embedded import postgres, processes
from spool.tests.live import OURS, ROOT, WAIT_SECS, free_port, wait_until

PROGRAMS = ("nginx", "pgbouncer", "redis-server")
NGINX_CONF = Path("/etc/nginx/nginx.conf")
# The path in Debian's packages.
SYSTEM_POSTGRES = Path("/usr/lib/postgresql")
PREFIX = "spooled:"
PASSWORD = "s3cret"
LEASE_SECS = 2.0
GRACE_SECS = 4
DOCS = ROOT / "docs" / "operations.md"

PGBOUNCER_INI = """
[databases]
spool = host={folder} port={port} user=postgres dbname=spool
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
"""


@dataclass
class Part:
    """One process, which can be stopped, killed and started again."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], object]
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    before: Callable[[], None] | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self, logs: Path) -> None:
        with (logs / f"{self.name}.log").open("ab") as log:
            self.process = processes.spawn(
                self.command,
                output=log,
                death_signal=signal.SIGKILL,
                env=self.environment or None,
                cwd=ROOT,
                before=self.before,
            )
        wait_until(lambda: self._has_ended() or self.is_ready())
        if self._has_ended():
            raise RuntimeError(f"{self.name} ended; see {logs}")

    def stop(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)
        self.process.wait(timeout=GRACE_SECS + 20)

    def _has_ended(self) -> bool:
        assert self.process
        return self.process.poll() is not None


class Deployment:
    """All parts, by name, in the order of their start."""

    def __init__(self, config: Path, certificate: Path) -> None:
        # Other users than root have to access it, so it is not in pytest's folder.
        self.folder = Path(tempfile.mkdtemp(prefix="spool-", dir="/tmp"))
        self.folder.chmod(0o755)
        if processes.needs_ownership(processes.give_up_root()):
            os.chown(self.folder, processes.unprivileged_uid(), -1)
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.certificate = self.folder / "certificate.pem"
        shutil.copy(certificate, self.certificate)
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.parts: dict[str, Part] = {}
        self.database = self._add_postgres()
        pooled = self._add_pgbouncer()
        redis_url = self._add_redis()
        inherited = {key: v for key, v in os.environ.items() if key not in OURS}
        self.environment = {
            **inherited,
            "DATABASE_URL": pooled,
            "DATABASE_PREPARED_STATEMENTS": "false",
            "REDIS_URL": redis_url,
            "REDIS_KEY_PREFIX": PREFIX,
            "LANGGRAPH_CONFIG": str(config),
            "SPOOL_HOME": str(self.folder / "home"),
            "SPOOL_AUTH": "api_key",
            "SPOOL_PUBLIC_URL": self.url,
            "DJANGO_SECRET_KEY": "of all processes",
            "WORKER_HEARTBEAT_SECS": "0.3",
            "WORKER_LEASE_SECS": str(LEASE_SECS),
            "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": str(GRACE_SECS),
            "STREAM_HEARTBEAT_SECS": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def start(self) -> None:
        for name in ("postgres", "pgbouncer", "redis"):
            self.parts[name].start(self.logs)
        self.run("prepare")
        ports = [self._add_web(number) for number in (1, 2)]
        for number in (1, 2):
            self._add_worker(number)
        for number in (1, 2):
            self._add_beat(number)
        self._add_nginx(ports)
        for part in self.parts.values():
            if part.process is None:
                part.start(self.logs)

    def restart(self, name: str, number: signal.Signals) -> None:
        """Stop a part by this signal, and start it again."""
        part = self.parts[name]
        part.stop(part.stop_signal if number == signal.SIGTERM else number)
        part.start(self.logs)

    def end(self) -> None:
        for part in reversed(self.parts.values()):
            if part.process:
                # In the reverse order of their start. No data has to be kept.
                processes.stop(part.process, signal.SIGKILL, 10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str) -> str:
        """Run a command of `spool` in this deployment. Returns its output."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "spool", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, sent to Postgres directly, not by PgBouncer."""
        with psycopg.connect(self.database) as conn:
            return list(conn.execute(query.encode(), params).fetchall())

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)

    # --- The parts ------------------------------------------------------------------
    def _add(self, name: str, command: Sequence[object], **given: Any) -> None:
        self.parts[name] = Part(name, list(map(str, command)), **given)

    def _add_postgres(self) -> str:
        found = sorted(SYSTEM_POSTGRES.glob("*/bin"))
        programs = found[-1] if found else postgres.binaries()
        data, unroot, port = self.folder / "data", processes.give_up_root(), 5432
        initdb = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        subprocess.run(
            [*map(str, initdb), "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            preexec_fn=unroot,
        )
        url = f"postgresql://postgres@/{{}}?host={self.folder}&port={port}"
        settings = {"fsync": "off", "listen_addresses": "", "max_connections": "60"}
        options = [f"--{name}={value}" for name, value in settings.items()]

        def has_database() -> bool:
            try:
                with psycopg.connect(url.format("postgres"), autocommit=True) as conn:
                    conn.execute("CREATE DATABASE spool")
            except psycopg.errors.DuplicateDatabase:
                return True
            except psycopg.OperationalError:
                return False
            return True

        command = [programs / "postgres", "-D", data, "-k", self.folder, *options]
        self._add(
            "postgres",
            command,
            is_ready=has_database,
            # A fast shutdown, which service managers use.
            stop_signal=signal.SIGINT,
            before=unroot,
        )
        return url.format("spool")

    def _add_pgbouncer(self) -> str:
        port, file = free_port(), self.folder / "pgbouncer.ini"
        file.write_text(
            PGBOUNCER_INI.format(folder=self.folder, port=5432, listen=port)
        )
        url = f"postgresql://spool@127.0.0.1:{port}/spool"

        def answers() -> bool:
            try:
                with psycopg.connect(url, connect_timeout=2) as conn:
                    return bool(conn.execute("SELECT 1").fetchone())
            except psycopg.OperationalError:
                return False

        self._add(
            "pgbouncer",
            ["pgbouncer", file],
            is_ready=answers,
            # Doesn't wait for clients, which all stay connected.
            stop_signal=signal.SIGTERM,
            before=processes.give_up_root(),
        )
        return url

    def _add_redis(self) -> str:
        port, file = free_port(), self.folder / "redis.conf"
        [rule] = re.findall(r"^    (user spool .*)$", DOCS.read_text(), re.MULTILINE)
        file.write_text(
            "\n".join(
                [
                    f"port 0\ntls-port {port}\nbind 127.0.0.1",
                    f"tls-cert-file {self.certificate}",
                    f"tls-key-file {self.certificate}",
                    f"tls-ca-cert-file {self.certificate}",
                    "tls-auth-clients no\nsave ''\nappendonly no",
                    f"dir {self.folder}",
                    "user default off",
                    rule.replace("PASSWORD", PASSWORD).replace("PREFIX:", PREFIX),
                ]
            )
        )
        where = f"rediss://spool:{PASSWORD}@localhost:{port}/0"
        url = f"{where}?ssl_ca_certs={self.certificate}"

        def answers() -> bool:
            try:
                with redis.Redis.from_url(url) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False

        self._add("redis", ["redis-server", file], is_ready=answers)
        return url

    def _add_program(
        self, name: str, command: Sequence[object], is_ready: Callable[[], object]
    ) -> None:
        home = {"SPOOL_HOME": str(self.folder / name)}
        python = [sys.executable, "-P", "-m", "spool"]
        environment = self.environment | home
        self._add(name, [*python, *command], is_ready=is_ready, environment=environment)

    def _add_web(self, number: int) -> int:
        port = free_port()

        def answers() -> bool:
            try:
                found = httpx.get(
                    f"http://127.0.0.1:{port}/ok?check_db=1", timeout=WAIT_SECS
                )
            except httpx.HTTPError:
                return False
            return found.status_code == 200

        self._add_program(f"web{number}", ["web", "--port", port], answers)
        return port

    def _add_worker(self, number: int) -> None:
        name = f"worker{number}"
        alive = "SELECT 1 FROM workers WHERE pid = %s AND expired_at IS NULL"

        def beats() -> bool:
            process = self.parts[name].process
            return bool(process and self.rows(alive, process.pid))

        self._add_program(name, ["worker", "--name", name], beats)

    def _add_beat(self, number: int) -> None:
        name = f"beat{number}"

        def has_begun() -> bool:
            return any((self.folder / name).glob("beat*"))

        self._add_program(name, ["beat"], has_begun)

    def _add_nginx(self, ports: Sequence[int]) -> None:
        """nginx's own configuration, with our docs' `server` as its only site."""
        folder = self.folder / "nginx"
        folder.mkdir()
        (folder / "site").write_text(self._site(ports))
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        given = NGINX_CONF.read_text()
        for old, new in (
            ("/run/nginx.pid", f"{folder}/pid"),
            ("/var/log/nginx/", f"{self.logs}/nginx-"),
            ("/etc/nginx/sites-enabled/*", f"{folder}/site"),
            ("http {", f"http {{\n{temporary}"),
        ):
            assert old in given
            given = given.replace(old, new)
        (folder / "nginx.conf").write_text(given)
        command = ["nginx", "-c", folder / "nginx.conf", "-e", self.logs / "nginx.log"]

        def answers() -> bool:
            try:
                found = httpx.get(
                    f"{self.url}/ok", verify=self.trust(), timeout=WAIT_SECS
                )
            except httpx.HTTPError:
                return False
            return found.status_code == 200

        self._add("nginx", [*command, "-g", "daemon off;"], is_ready=answers)

    def _site(self, ports: Sequence[int]) -> str:
        """The docs' blocks for nginx, with this deployment's ports and files."""
        text = DOCS.read_text()
        block = re.search(r"\nnginx:\n\n((?:    .*\n|\n)+)", text)
        assert block
        servers = "".join(f"server 127.0.0.1:{port};\n" for port in ports)
        site = block[1]
        for old, new in (
            ("        server 127.0.0.1:8123;\n", servers),
            ("443", str(self.port)),
            ("spool.example.com", "localhost"),
            ("/etc/ssl/spool.pem", str(self.certificate)),
            ("/etc/ssl/spool.key", str(self.certificate)),
        ):
            assert old in site, old
            site = site.replace(old, new)
        return site
