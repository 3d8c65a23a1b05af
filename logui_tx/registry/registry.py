"""The applications and flights that may log, kept in a database. Synchronous: it blocks while SQL runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from uuid import uuid4

from attrs import evolve
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, TimeoutError

from logui_tx.errors import NameTaken, RegistryError, UnknownApplication, UnknownFlight
from logui_tx.model import LISTENERS, Application, Flight
from logui_tx.registry import schema
from logui_tx.registry.adoption import Adoption, adopt
from logui_tx.registry.database import reason
from logui_tx.registry.domains import parse_domain
from logui_tx.registry.flight_settings import checked_listeners, checked_metadata, checked_sample_moves
from logui_tx.registry.names import checked_name
from logui_tx.registry.rows import (
    FLIGHTS,
    application_of,
    find_application,
    find_flight,
    flight_of,
    flight_row,
)
from logui_tx.registry.sqlite import READ_ONLY
from logui_tx.registry.tokens import TokenSigner

CLIENT_VERSION = "0.4.0"
DEMO = "Demo"

_DEMO_DOMAINS = ("localhost", "127.0.0.1")


class Registry:
    """Makes, finds and changes applications and flights. Safe to use from several threads.

    Where a method takes ``key``, it is an id or a name; an id wins. Every method raises
    :class:`RegistryError` itself when the database does not answer. ``now`` gives UNIX seconds.
    """

    def __init__(self, engine: Engine, signer: TokenSigner, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._readers = engine.execution_options(**{READ_ONLY: True})
        self._signer = signer
        self._now = now

    # Applications

    def create_application(self, name: str) -> Application:
        """A new application. Raises :class:`NameTaken`, or :class:`RegistryError` for a bad name."""
        application = Application(str(uuid4()), checked_name(name), self._milliseconds())
        row = {"id": application.id, "name": application.name, "created_at": application.created_at}
        with self._writing() as connection, _taken(f"there is an application {name.strip()!r} already"):
            connection.execute(insert(schema.application).values(row))
        return application

    def list_applications(self) -> list[Application]:
        """All applications, the oldest first."""
        with self._reading() as connection:
            found = [application_of(row) for row in connection.execute(select(schema.application))]
        return sorted(found, key=_by_age)

    def find_application(self, key: str) -> Application:
        """Raises :class:`UnknownApplication`."""
        with self._reading() as connection:
            return find_application(connection, key)

    def delete_application(self, key: str) -> Application:
        """Deletes it and its flights; returns what it was. Raises :class:`UnknownApplication`."""
        with self._writing() as connection:
            application = find_application(connection, key, lock=True)
            connection.execute(delete(schema.flight).where(schema.flight.c.application_id == application.id))
            connection.execute(delete(schema.application).where(schema.application.c.id == application.id))
        return application

    # Flights

    def create_flight(
        self,
        application_key: str,
        name: str,
        domains: Sequence[str],
        *,
        listeners: Sequence[str] = LISTENERS,
        sample_moves: int = 0,
        metadata: str = "{}",
        strict_sessions: bool = False,
    ) -> Flight:
        """A new, active flight; the settings are those of :class:`Flight`.

        Raises :class:`UnknownApplication`, :class:`NameTaken`, :class:`InvalidDomain`,
        :class:`InvalidSetting`, or :class:`RegistryError` for a bad name or no domain at all.
        """
        changes = _checked(name, domains, listeners, sample_moves, metadata, strict_sessions)
        with self._writing() as connection:
            application = find_application(connection, application_key, lock=True)
            flight = Flight(
                id=str(uuid4()),
                application_id=application.id,
                active=True,
                client_version=CLIENT_VERSION,
                created_at=self._milliseconds(),
                application_name=application.name,
                **changes,
            )
            with _flight_taken(flight):
                connection.execute(insert(schema.flight).values(flight_row(flight)))
        return flight

    def change_flight(
        self,
        key: str,
        *,
        name: str | None = None,
        domains: Sequence[str] | None = None,
        listeners: Sequence[str] | None = None,
        sample_moves: int | None = None,
        metadata: str | None = None,
        strict_sessions: bool | None = None,
    ) -> Flight:
        """Replaces what is given, and returns the flight as it is now; what is None stays.

        Raises as :meth:`create_flight`, and :class:`UnknownFlight`, :class:`AmbiguousName`.
        """
        changes = _checked(name, domains, listeners, sample_moves, metadata, strict_sessions)
        return self._change(key, changes)

    def list_flights(self, application_key: str | None = None) -> list[Flight]:
        """All flights, or an application's, the oldest first. Raises :class:`UnknownApplication`."""
        query = FLIGHTS
        with self._reading() as connection:
            if application_key is not None:
                application = find_application(connection, application_key)
                query = query.where(schema.flight.c.application_id == application.id)
            found = [flight_of(row) for row in connection.execute(query)]
        return sorted(found, key=_by_age)

    def get_flight(self, flight_id: str) -> Flight:
        """By id alone, as a token names it. Raises :class:`UnknownFlight`."""
        with self._reading() as connection:
            row = connection.execute(FLIGHTS.where(schema.flight.c.id == flight_id)).first()
        if row is None:
            raise UnknownFlight("there is no such flight")
        return flight_of(row)

    def active_domains(self) -> tuple[str, ...]:
        """The domains of all active flights, each once."""
        query = select(schema.flight.c.domains).where(schema.flight.c.active)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return tuple(dict.fromkeys(domain for row in rows for domain in json.loads(row.domains)))

    def find_flight(self, key: str, application_key: str | None = None) -> Flight:
        """Raises :class:`UnknownFlight`, :class:`AmbiguousName`, :class:`UnknownApplication`."""
        with self._reading() as connection:
            return find_flight(connection, key, application_key)

    def delete_flight(self, key: str) -> Flight:
        """Returns what it was. Raises :class:`UnknownFlight`, :class:`AmbiguousName`."""
        with self._writing() as connection:
            flight = find_flight(connection, key, lock=True)
            connection.execute(delete(schema.flight).where(schema.flight.c.id == flight.id))
        return flight

    def set_active(self, key: str, active: bool) -> Flight:
        """Lets a flight log, or no longer; returns it as it is now. Idempotent.

        Raises :class:`UnknownFlight`, :class:`AmbiguousName`.
        """
        return self._change(key, {"active": active})

    def token(self, flight: Flight) -> str:
        """The signed token by which clients name this flight. A secret: not for logs."""
        return self._signer.issue(flight)

    def ensure_demo(self) -> Flight:
        """The flight "Demo" of the application "Demo", made if absent; also when others do so at once."""
        while True:
            # Where another process is quicker, or deletes what was there, the next look shows what there is.
            with suppress(NameTaken, UnknownApplication):
                try:
                    return self.find_flight(DEMO, DEMO)
                except UnknownApplication:
                    self.create_application(DEMO)
                except UnknownFlight:
                    self.create_flight(DEMO, DEMO, _DEMO_DOMAINS)

    def adopt(self, applications: Sequence[Application], flights: Sequence[Flight]) -> Adoption:
        """Take over what comes from another server, with ids, all or nothing; what is there stays as it is.

        Raises :class:`NameTaken` where somebody makes one of the same name at this moment.
        """
        with self._writing() as connection, _taken("a name was taken meanwhile: try again"):
            return adopt(connection, applications, flights)

    def check(self) -> None:
        """Returns when the database answers; raises :class:`RegistryError` when it does not."""
        with self._reading() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Lets go of the database's connections."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _plain_errors(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _plain_errors(), self._engine.begin() as connection:
            yield connection

    def _change(self, key: str, changes: dict[str, Any]) -> Flight:
        with self._writing() as connection:
            flight = evolve(find_flight(connection, key, lock=True), **changes)
            change = update(schema.flight).where(schema.flight.c.id == flight.id).values(flight_row(flight))
            with _flight_taken(flight):
                connection.execute(change)
        return flight

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Says a database's failure in one line: SQLAlchemy's own text shows the statement."""
    try:
        yield
    except DBAPIError as error:
        raise RegistryError(f"the registry's database does not answer: {reason(error)}") from error
    except TimeoutError as error:
        raise RegistryError("the registry's database does not answer: all connections are busy") from error


@contextmanager
def _taken(text: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise NameTaken(text) from None


def _flight_taken(flight: Flight) -> AbstractContextManager[None]:
    return _taken(f"the application {flight.application_name!r} has a flight {flight.name!r} already")


def _checked(
    name: str | None,
    domains: Sequence[str] | None,
    listeners: Sequence[str] | None,
    sample_moves: int | None,
    metadata: str | None,
    strict_sessions: bool | None,
) -> dict[str, Any]:
    """What is given, by the names of Flight's fields, in the form that is kept."""
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = checked_name(name)
    if domains is not None:
        changes["domains"] = tuple(dict.fromkeys(parse_domain(domain) for domain in domains))
        if not changes["domains"]:
            raise RegistryError("a flight needs at least one domain (* for any)")
    if listeners is not None:
        changes["listeners"] = checked_listeners(listeners)
    if sample_moves is not None:
        changes["sample_moves"] = checked_sample_moves(sample_moves)
    if metadata is not None:
        changes["metadata"] = checked_metadata(metadata)
    if strict_sessions is not None:
        changes["strict_sessions"] = strict_sessions
    return changes


def _by_age(one: Application | Flight) -> tuple[int, str]:
    """Sorted here: how a database sorts names depends on its locale."""
    return one.created_at, one.name
