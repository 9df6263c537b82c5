"""Django's Postgres backend, with a health check without a round trip.

Its connections are also closed if their buffers may have grown, see `buffers`.
"""

from __future__ import annotations

import time
from typing import Any, cast

import psycopg
from django.db.backends.postgresql import base

from spool.database import buffers
from spool.database.direct import Session

# A firewall may drop an idle connection silently, so the check is a query after this
# time without traffic.
CHECK_AFTER_SECS = 30.0


class DatabaseWrapper(base.DatabaseWrapper):
    _used_at = 0.0
    _made_at = 0
    _session: Session | None = None

    def connect(self) -> None:
        self._made_at = buffers.current()
        super().connect()

    @property
    def session(self) -> Session:
        """The open connection for statements of `database.direct`."""
        if self._session is None or self._session.connection is not self.connection:
            self._session = Session(cast("psycopg.Connection[Any]", self.connection))
        return self._session

    def close_if_unusable_or_obsolete(self) -> None:
        """Django calls this before and after each request."""
        super().close_if_unusable_or_obsolete()
        if self.connection and self._made_at != buffers.current():
            self.close()

    def is_usable(self) -> bool:
        """Django calls this before the first query of each request.

        If the server has closed an idle connection, reading from it fails. If it does
        not, and there was traffic recently, the connection is usable.
        """
        now = time.monotonic()
        used_lately = now - self._used_at < CHECK_AFTER_SECS
        self._used_at = now
        if used_lately and not self.errors_occurred and self._is_open():
            return True
        return super().is_usable()

    def _is_open(self) -> bool:
        if self.connection is None or self.connection.closed:
            return False
        pgconn = self.connection.pgconn
        try:
            # These calls don't wait, and keep the interpreter's lock. The first one may
            # read only the server's last message, and the second one the end.
            pgconn.consume_input()
            pgconn.consume_input()
        except psycopg.OperationalError:
            return False
        return True
