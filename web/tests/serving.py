"""uvicorn in a thread of the tests' process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from spool.tests.live import wait_until


class Server:
    """uvicorn on a free port of this machine, in a thread of this process."""

    def __init__(self, application: Any, **how: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.url = "http://{}:{}".format(*self.address)
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            **how,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [self.socket]}
        )

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._uvicorn.started, pause=0.01)

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()
        self.socket.close()


@contextmanager
def serving(application: Any, **how: Any) -> Iterator[Server]:
    server = Server(application, **how)
    server.start()
    try:
        yield server
    finally:
        server.stop()
