"""The applications and flights that may log, kept in a database. Synchronous: it blocks while SQL runs."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import uuid4

from sqlalchemy import Connection, Engine, Row, Select, delete, insert, or_, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from logui_tx.errors import (
    AmbiguousName,
    NameTaken,
    RegistryError,
    UnknownApplication,
    UnknownFlight,
)
from logui_tx.model import Application, Flight
from logui_tx.registry import schema
from logui_tx.registry.database import READ_ONLY
from logui_tx.registry.domains import parse_domain
from logui_tx.registry.tokens import TokenSigner

CLIENT_VERSION = "0.4.0"
MAX_NAME = 200
DEMO = "Demo"

_DEMO_DOMAINS = ("localhost", "127.0.0.1")

# Control characters, line and paragraph separators.
_NOT_IN_NAMES = {"Cc", "Zl", "Zp"}


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
        application = Application(str(uuid4()), _checked_name(name), self._milliseconds())
        row = {"id": application.id, "name": application.name, "created_at": application.created_at}
        with self._writing() as connection, _taken(f"there is an application {name.strip()!r} already"):
            connection.execute(insert(schema.application).values(row))
        return application

    def list_applications(self) -> list[Application]:
        """All applications, the oldest first."""
        query = select(schema.application).order_by(
            schema.application.c.created_at, schema.application.c.name
        )
        with self._reading() as connection:
            return [_application(row) for row in connection.execute(query)]

    def find_application(self, key: str) -> Application:
        """Raises :class:`UnknownApplication`."""
        with self._reading() as connection:
            return _find_application(connection, key)

    def delete_application(self, key: str) -> Application:
        """Deletes it and its flights; returns what it was. Raises :class:`UnknownApplication`."""
        with self._writing() as connection:
            application = _find_application(connection, key)
            connection.execute(delete(schema.flight).where(schema.flight.c.application_id == application.id))
            connection.execute(delete(schema.application).where(schema.application.c.id == application.id))
        return application

    # Flights

    def create_flight(self, application_key: str, name: str, domains: Sequence[str]) -> Flight:
        """A new, active flight.

        Raises :class:`UnknownApplication`, :class:`NameTaken`, :class:`InvalidDomain`, or
        :class:`RegistryError` for a bad name or no domain at all.
        """
        name = _checked_name(name)
        entries = tuple(dict.fromkeys(parse_domain(domain) for domain in domains))
        if not entries:
            raise RegistryError("a flight needs at least one domain (* for any)")
        with self._writing() as connection:
            application = _find_application(connection, application_key)
            flight = Flight(
                id=str(uuid4()),
                application_id=application.id,
                name=name,
                domains=entries,
                active=True,
                client_version=CLIENT_VERSION,
                created_at=self._milliseconds(),
            )
            with _taken(f"the application {application.name!r} has a flight {name!r} already"):
                connection.execute(insert(schema.flight).values(_flight_row(flight)))
        return flight

    def list_flights(self, application_key: str | None = None) -> list[Flight]:
        """All flights, or an application's, the oldest first. Raises :class:`UnknownApplication`."""
        query = select(schema.flight).order_by(schema.flight.c.created_at, schema.flight.c.name)
        with self._reading() as connection:
            if application_key is not None:
                application = _find_application(connection, application_key)
                query = query.where(schema.flight.c.application_id == application.id)
            return [_flight(row) for row in connection.execute(query)]

    def get_flight(self, flight_id: str) -> Flight:
        """By id alone, as a token names it. Raises :class:`UnknownFlight`."""
        with self._reading() as connection:
            row = connection.execute(select(schema.flight).where(schema.flight.c.id == flight_id)).first()
        if row is None:
            raise UnknownFlight("there is no such flight")
        return _flight(row)

    def active_domains(self) -> tuple[str, ...]:
        """The domains of all active flights, each once."""
        query = select(schema.flight.c.domains).where(schema.flight.c.active)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return tuple(dict.fromkeys(domain for row in rows for domain in json.loads(row.domains)))

    def find_flight(self, key: str, application_key: str | None = None) -> Flight:
        """Raises :class:`UnknownFlight`, :class:`AmbiguousName`, :class:`UnknownApplication`."""
        with self._reading() as connection:
            return _find_flight(connection, key, application_key)

    def delete_flight(self, key: str) -> Flight:
        """Returns what it was. Raises :class:`UnknownFlight`, :class:`AmbiguousName`."""
        with self._writing() as connection:
            flight = _find_flight(connection, key)
            connection.execute(delete(schema.flight).where(schema.flight.c.id == flight.id))
        return flight

    def set_active(self, key: str, active: bool) -> Flight:
        """Lets a flight log, or no longer; returns it as it is now. Idempotent.

        Raises :class:`UnknownFlight`, :class:`AmbiguousName`.
        """
        with self._writing() as connection:
            found = _find_flight(connection, key)
            change = update(schema.flight).where(schema.flight.c.id == found.id).values(active=active)
            connection.execute(change)
            return _find_flight(connection, found.id)

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

    def check(self) -> None:
        """Returns when the database answers; raises :class:`RegistryError` when it does not."""
        with self._reading() as connection:
            connection.execute(text("SELECT 1"))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _plain_errors(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _plain_errors(), self._engine.begin() as connection:
            yield connection

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Says a database's failure in one line: SQLAlchemy's own text shows the statement."""
    try:
        yield
    except DBAPIError as error:
        raise RegistryError(f"the registry's database does not answer: {error.orig}") from error


@contextmanager
def _taken(text: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise NameTaken(text) from None


def _checked_name(name: str) -> str:
    """The name as it is kept: stripped, and composed (NFC), so that what looks alike is alike."""
    name = unicodedata.normalize("NFC", name.strip())
    if not name:
        raise RegistryError("a name must not be empty")
    if len(name) > MAX_NAME:
        raise RegistryError(f"a name has at most {MAX_NAME} characters, not {len(name)}")
    categories = {unicodedata.category(character) for character in name}
    if "Cs" in categories:  # half of a surrogate pair: Python's sign for an argument that it could not decode
        raise RegistryError("a name must be text in the encoding of the terminal")
    if categories & _NOT_IN_NAMES:
        raise RegistryError("a name must not hold control characters")
    return name


def _searchable(key: str) -> str:
    """The key as a name would be kept; one that no name can be equals none."""
    try:
        return _checked_name(key)
    except RegistryError:
        return ""


def _find_application(connection: Connection, key: str) -> Application:
    name = _searchable(key)
    columns = schema.application.c
    query = select(schema.application).where(or_(columns.id == name, columns.name == name))
    rows = connection.execute(query).all()
    if not rows:
        raise UnknownApplication(f"there is no application {_shown(key)}")
    return _application(_best(rows, name))


def _find_flight(connection: Connection, key: str, application_key: str | None = None) -> Flight:
    name = _searchable(key)
    columns = schema.flight.c
    query: Select[*tuple[object, ...]] = select(schema.flight).where(
        or_(columns.id == name, columns.name == name)
    )
    if application_key is not None:
        query = query.where(columns.application_id == _find_application(connection, application_key).id)
    rows = connection.execute(query).all()
    if not rows:
        raise UnknownFlight(f"there is no flight {_shown(key)}")
    best = _best(rows, name)
    if len(rows) > 1 and best.id != name:
        raise AmbiguousName(f"{len(rows)} flights are named {_shown(key)}: say which by its id")
    return _flight(best)


def _best(rows: Sequence[Row[*tuple[object, ...]]], key: str) -> Row[*tuple[object, ...]]:
    """The row whose id it is, else the first."""
    return next((row for row in rows if row.id == key), rows[0])


def _shown(key: str) -> str:
    return repr(key if len(key) <= MAX_NAME else key[:MAX_NAME] + "…")


def _application(row: Row[*tuple[object, ...]]) -> Application:
    return Application(id=row.id, name=row.name, created_at=row.created_at)


def _flight(row: Row[*tuple[object, ...]]) -> Flight:
    return Flight(
        id=row.id,
        application_id=row.application_id,
        name=row.name,
        domains=tuple(json.loads(row.domains)),
        active=row.active,
        client_version=row.client_version,
        created_at=row.created_at,
    )


def _flight_row(flight: Flight) -> dict[str, object]:
    return {
        "id": flight.id,
        "application_id": flight.application_id,
        "name": flight.name,
        "domains": json.dumps(flight.domains),
        "active": flight.active,
        "client_version": flight.client_version,
        "created_at": flight.created_at,
    }
