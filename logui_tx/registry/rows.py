"""Finding applications and flights by id or name, and how their rows become values and back."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, Row, Select, or_, select

from logui_tx.errors import AmbiguousName, UnknownApplication, UnknownFlight
from logui_tx.model import Application, Flight
from logui_tx.registry import schema
from logui_tx.registry.names import searchable, shown

FLIGHTS: Select[*tuple[object, ...]] = select(
    schema.flight, schema.application.c.name.label("application_name")
).join(schema.application)
"""Every flight, with its application's name."""


def find_application(connection: Connection, key: str, lock: bool = False) -> Application:
    """By id or name; an id wins. Raises :class:`UnknownApplication`.

    ``lock`` keeps others from deleting it until the transaction ends.
    """
    name = searchable(key)
    columns = schema.application.c
    query = select(schema.application).where(or_(columns.id == name, columns.name == name))
    rows = connection.execute(query.with_for_update() if lock else query).all()
    if not rows:
        raise UnknownApplication(f"there is no application {shown(key)}")
    return application_of(_best(rows, name))


def find_flight(
    connection: Connection, key: str, application_key: str | None = None, lock: bool = False
) -> Flight:
    """By id or name; an id wins.

    Raises :class:`UnknownFlight`, :class:`AmbiguousName`, :class:`UnknownApplication`. ``lock`` keeps others
    from changing it until the transaction ends.
    """
    name = searchable(key)
    columns = schema.flight.c
    query = FLIGHTS.where(or_(columns.id == name, columns.name == name))
    if application_key is not None:
        query = query.where(columns.application_id == find_application(connection, application_key).id)
    rows = connection.execute(query.with_for_update(of=schema.flight) if lock else query).all()
    if not rows:
        raise UnknownFlight(f"there is no flight {shown(key)}")
    best = _best(rows, name)
    if len(rows) > 1 and best.id != name:
        raise AmbiguousName(f"{len(rows)} flights are named {shown(key)}: say which by its id")
    return flight_of(best)


def application_of(row: Row[*tuple[object, ...]]) -> Application:
    """The value of a row of ``schema.application``."""
    return Application(id=row.id, name=row.name, created_at=row.created_at)


def flight_of(row: Row[*tuple[object, ...]]) -> Flight:
    """The value of a row of :data:`FLIGHTS`."""
    return Flight(
        id=row.id,
        application_id=row.application_id,
        name=row.name,
        domains=tuple(json.loads(row.domains)),
        active=row.active,
        client_version=row.client_version,
        created_at=row.created_at,
        listeners=tuple(json.loads(row.listeners)),
        sample_moves=row.sample_moves,
        metadata=row.metadata,
        strict_sessions=row.strict_sessions,
        application_name=row.application_name,
    )


def flight_row(flight: Flight) -> dict[str, object]:
    """The row of ``schema.flight`` for a value."""
    return {
        "id": flight.id,
        "application_id": flight.application_id,
        "name": flight.name,
        "domains": json.dumps(flight.domains),
        "active": flight.active,
        "client_version": flight.client_version,
        "created_at": flight.created_at,
        "listeners": json.dumps(flight.listeners),
        "sample_moves": flight.sample_moves,
        "metadata": flight.metadata,
        "strict_sessions": flight.strict_sessions,
    }


def _best(rows: Sequence[Row[*tuple[object, ...]]], key: str) -> Row[*tuple[object, ...]]:
    """The row whose id it is, else the first."""
    return next((row for row in rows if row.id == key), rows[0])
