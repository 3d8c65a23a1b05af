"""One connection of the sink ``postgresql:``, with the tables ready; made anew where it was lost."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from threading import Timer
from typing import Any

import psycopg

from logui_tx.errors import SinkAway
from logui_tx.postgresql import wrong_encoding
from logui_tx.sinks.postgresql_tables import Tables, prepare

# Of a name that stands for several, a switch-over may show another one.
_WHICH = "SELECT pg_postmaster_start_time(), inet_server_addr(), inet_server_port(), current_database()"
_SOON = 2.0
"""Seconds."""

_WRITABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)


class Link:
    """For one thread at a time, but for :meth:`hang_up`."""

    def __init__(self, conninfo: str, tables: Tables) -> None:
        self._conninfo = conninfo
        self._tables = tables
        self._connection: psycopg.Connection[Any] | None = None
        # Of the connection, too: the reactor's thread ends by it what takes too long in the other.
        self._socket: socket.socket | None = None
        self.late = False
        self.server: object = None
        """Equal for connections to the same database of the same server."""

    @property
    def broken(self) -> bool:
        """Whether there is no connection, or one that is of no use any more."""
        return self._connection is None or self._connection.broken

    def connected(self) -> psycopg.Connection[Any]:
        """The connection, or a new one where the last was lost.

        Raises :class:`SinkAway`, and what psycopg raises.
        """
        if self._connection is not None and self._connection.broken:
            self.disconnect()
        if self._connection is None:
            # A pooler between us and the server does not keep prepared statements.
            connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
            self._connection = connection
            try:
                self._socket = socket.socket(fileno=os.dup(connection.fileno()))
                if self.late:
                    self.hang_up()
                why = wrong_encoding(connection)
                if why is not None:
                    raise SinkAway(why)
                # What was taken must outlast a crash; stricter settings stay.
                connection.execute(_WRITABLE)
                prepare(connection, self._tables)
                self.server = connection.execute(_WHICH).fetchone()
            except BaseException:
                self.disconnect()
                raise
        return self._connection

    def connected_soon(self) -> psycopg.Connection[Any]:
        """As :meth:`connected`, but not to wait for: a pooler may let one in and answer nothing."""
        if not self.broken:
            return self.connected()
        timer = Timer(_SOON, self.hang_up)
        timer.daemon = True
        timer.start()
        try:
            return self.connected()
        finally:
            timer.cancel()

    def disconnect(self) -> None:
        """Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def hang_up(self) -> None:
        """Whoever waits for the other end waits no more; from any thread.

        Who only now connects is hung up on, too, while this is ``late``.
        """
        connected = self._socket
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
