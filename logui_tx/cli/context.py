"""What the commands share: the data folder and what is kept in it, opened when first asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from logui_tx import data_folder
from logui_tx.errors import JournalError, UnknownFlight

# Imported where they are used: a help page needs neither SQLAlchemy nor the rest.
if TYPE_CHECKING:
    from sqlalchemy import Engine
    from twisted.internet.defer import Deferred

    from logui_tx.interfaces import ISessionStore
    from logui_tx.journal.reader import JournalReader
    from logui_tx.registry.registry import Registry
    from logui_tx.registry.tokens import SigningKeys, TokenSigner


class Context:
    """Where the commands work: ``--data-dir``, ``--database``, ``--secret-key-file`` or the configuration's.

    Every attribute raises :class:`CannotStart` when it cannot be opened.
    """

    def __init__(
        self,
        data_dir: Path,
        database: str | None,
        secret_key_file: Path | None = None,
        session_store: str = "memory:",
    ) -> None:
        self._data_dir = data_dir
        self._database = database
        self._secret_key_file = secret_key_file
        self._session_store = session_store

    @cached_property
    def data_dir(self) -> Path:
        """The data folder, made with mode 0700 if it was absent."""
        return data_folder.make(self._data_dir)

    @cached_property
    def registry(self) -> Registry:
        """The applications and flights, their tables up to date."""
        from logui_tx.registry.database import migrate
        from logui_tx.registry.registry import Registry

        migrate(self._engine)
        return Registry(self._engine, self.signer)

    @cached_property
    def keys(self) -> SigningKeys:
        """The keys that sign tokens; in the data folder they are made on first use."""
        from logui_tx.registry.tokens import SigningKeys

        return SigningKeys(self.data_dir, file=self._secret_key_file)

    @cached_property
    def signer(self) -> TokenSigner:
        """Issues and reads tokens."""
        from logui_tx.registry.tokens import TokenSigner

        return TokenSigner(self.keys)

    @contextmanager
    def journal(self) -> Iterator[JournalReader]:
        """Reads what was logged, also while the server runs. Within it, SQLite's errors are ours."""
        from logui_tx.journal.reader import JournalReader
        from logui_tx.journal.schema import open_reader

        connection = open_reader(self.data_dir)
        try:
            yield JournalReader(connection)
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be read: {error}") from error
        finally:
            connection.close()

    @contextmanager
    def journal_changes(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction of its own, also while the server runs; as :meth:`journal`."""
        from logui_tx.journal.schema import open_journal, transaction

        connection = open_journal(self.data_dir)
        try:
            with transaction(connection):
                yield connection
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be written: {error}") from error
        finally:
            connection.close()

    def announce(self, flight_id: str) -> None:
        """Servers that share a session store are told at once that the flight was changed."""
        from logui_tx.neighbours import flight_changed

        if not self._tell_store(lambda store: store.tell(None, flight_changed(flight_id))):
            click.echo(
                "logui: the session store does not answer; servers take notice within a second by themselves",
                err=True,
            )

    def forget(self, session_id: str) -> None:
        """No server finds the session, and its data, in the session store any more."""
        if not self._tell_store(lambda store: store.forget(session_id)):
            click.echo(
                "logui: the session store does not answer; it forgets the session after the resume window",
                err=True,
            )

    def _tell_store(self, act: Callable[[ISessionStore], Deferred[Any]]) -> bool:
        if self._session_store == "memory:":
            return True
        from twisted.internet import reactor

        from logui_tx.cli.shared_store import tell_store

        return tell_store(reactor, self._session_store, act)

    def flight_id(self, key: str, reader: JournalReader) -> str:
        """A flight's id by its name or id; also by the id of one that was deleted but has sessions.

        Raises :class:`UnknownFlight`, :class:`AmbiguousName`.
        """
        try:
            return self.registry.find_flight(key).id
        except UnknownFlight:
            try:
                has_sessions = next(reader.sessions(key), None) is not None
            except UnicodeEncodeError:  # an argument that is no text
                has_sessions = False
            if not has_sessions:
                raise
            return key

    def close(self) -> None:
        """Lets go of the database, if it was opened."""
        if "_engine" in self.__dict__:
            self._engine.dispose()

    @cached_property
    def _engine(self) -> Engine:
        from logui_tx.registry.database import open_engine

        return open_engine(self._database, self.data_dir)


pass_context = click.make_pass_decorator(Context)
