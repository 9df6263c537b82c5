"""Child processes that end with their supervisor, even if it is killed."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
STDOUT, STDERR = 1, 2
CLONE_NEWUSER = 0x10000000
# Signals that end the supervisor; a forked child needs its own handlers for them.
OUR_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PreExec = Callable[[], None]


class CannotStart(Exception):
    """The server can't start. The message is one line that says what to do."""


@dataclass(frozen=True)
class Mark:
    """Identifies a process also after its end, since another one may reuse its pid."""

    name: str
    pid: int
    started: float
    signal: int

    def is_alive(self) -> bool:
        return start_time(self.pid) == self.started

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def start_time(pid: int) -> float | None:
    """The start time of a process, in clock ticks since boot; None if it does not run.

    A zombie counts as ended, since in a container it may never be reaped.
    """
    if not sys.platform.startswith("linux"):
        return _start_time_elsewhere(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else float(fields[19])


def _start_time_elsewhere(pid: int) -> float | None:
    ps = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],  # noqa: S607 - ps is ps
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = ps.stdout.strip().partition(" ")
    if not state or state.startswith("Z"):
        return None
    return time.mktime(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y"))


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    errors: int = subprocess.STDOUT,
    death_signal: int,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    before: PreExec | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a new session, which gets `death_signal` if its parent dies.

    Call it only in the main thread: the kernel sends the signal when the forking thread
    ends.
    """
    parent = os.getpid()

    def prepare() -> None:
        if before:
            before()
        # Last, since a change of credentials clears the death signal.
        die_with(parent, death_signal)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=None if env is None else dict(env),
        cwd=cwd,
        start_new_session=True,
        preexec_fn=prepare,
    )


class Forked:
    """A forked child, with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid or 0  # It has been started.

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


Process = subprocess.Popen[bytes] | Forked


def fork(
    program: Callable[[], object],
    *,
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    death_signal: int,
) -> Forked:
    """Like `spawn`, with a function instead of a command.

    The child has all imported modules of its parent, and shares their memory. Its
    stderr goes to `errors` if that is given, else to `output` too.
    """
    parent = os.getpid()

    def run() -> None:
        os.setsid()
        for number in OUR_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OUR_SIGNALS)
        die_with(parent, death_signal)
        # `multiprocessing` has already replaced stdin.
        os.dup2(output.fileno(), STDOUT)
        os.dup2((errors or output).fileno(), STDERR)
        program()

    child = multiprocessing.get_context("fork").Process(target=run)
    # Otherwise an early signal would run the parent's handlers in the child.
    signal.pthread_sigmask(signal.SIG_BLOCK, OUR_SIGNALS)
    try:
        child.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OUR_SIGNALS)
    return Forked(child)


def die_with(parent: int, death_signal: int) -> None:
    """Request this signal for the end of the parent, in a child just after the fork."""
    if sys.platform.startswith("linux"):
        LIBC.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def stop(process: Process, number: int, timeout: float) -> None:
    """Send a signal to a child, and kill it after `timeout` seconds."""
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_leftover(mark: Mark, timeout: float = 5.0) -> None:
    """End a process that an earlier supervisor left, unless its pid was reused."""
    deadline = time.monotonic() + timeout
    number = mark.signal
    while mark.is_alive():
        try:
            os.kill(mark.pid, number)
        except ProcessLookupError:
            return
        time.sleep(0.05)
        if time.monotonic() > deadline:
            number = signal.SIGKILL


# --- Postgres does not run as root ----------------------------------------------
def give_up_root() -> PreExec | None:
    """A function with which a child gives up root; None if this process is not root.

    The child enters a user namespace, in which root's files need no other permissions.
    If namespaces are not allowed, as in many containers, it becomes the user `nobody`.
    """
    if os.geteuid() != 0:
        return None
    return _enter_namespace if _namespaces_work() else _change_user


def needs_ownership(how: PreExec | None) -> bool:
    """Whether the data must belong to the user `nobody`."""
    return how is _change_user


def unprivileged_uid() -> int:
    return pwd.getpwnam("nobody").pw_uid


def _namespaces_work() -> bool:
    child = os.fork()
    if child == 0:
        try:
            _enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _enter_namespace() -> None:
    uid = unprivileged_uid()
    if LIBC.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    maps = (("setgroups", "deny"), ("uid_map", f"{uid} 0 1"), ("gid_map", f"{uid} 0 1"))
    for name, text in maps:
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode())
        os.close(file)


def _change_user() -> None:
    user = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
