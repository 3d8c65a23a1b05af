"""Applications and flights that come from another server, with their ids."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen
from sqlalchemy import Connection, insert, select

from logui_tx.model import Application, Flight
from logui_tx.registry import schema
from logui_tx.registry.names import cleaned_name, free_name
from logui_tx.registry.rows import flight_row


@frozen
class Adoption:
    """What was made: those that were there before are left as they are.

    ``renamed`` holds the former and the present name of each that could not keep it.
    """

    applications: tuple[Application, ...]
    flights: tuple[Flight, ...]
    renamed: tuple[tuple[str, str], ...]


def adopt(connection: Connection, applications: Sequence[Application], flights: Sequence[Flight]) -> Adoption:
    """Make those whose ids are not there yet; names that are taken, or not allowed here, are changed.

    Each flight's application is among ``applications``.
    """
    renamed: list[tuple[str, str]] = []
    made = _adopt_applications(connection, applications, renamed)
    return Adoption(made, _adopt_flights(connection, flights, renamed), tuple(renamed))


def _adopt_applications(
    connection: Connection, applications: Sequence[Application], renamed: list[tuple[str, str]]
) -> tuple[Application, ...]:
    columns = schema.application.c
    there = {row.id: row.name for row in connection.execute(select(columns.id, columns.name))}
    names = set(there.values())
    made = []
    for each in applications:
        if each.id in there:
            continue
        name = _name(each.name, names, renamed)
        made.append(evolve(each, name=name))
        row = {"id": each.id, "name": name, "created_at": each.created_at}
        connection.execute(insert(schema.application).values(row))
    return tuple(made)


def _adopt_flights(
    connection: Connection, flights: Sequence[Flight], renamed: list[tuple[str, str]]
) -> tuple[Flight, ...]:
    columns = schema.flight.c
    ids = set()
    names: dict[str, set[str]] = {}
    for row in connection.execute(select(columns.id, columns.application_id, columns.name)):
        ids.add(row.id)
        names.setdefault(row.application_id, set()).add(row.name)
    made = []
    for each in flights:
        if each.id in ids:
            continue
        name = _name(each.name, names.setdefault(each.application_id, set()), renamed)
        made.append(evolve(each, name=name))
        connection.execute(insert(schema.flight).values(flight_row(made[-1])))
    return tuple(made)


def _name(former: str, taken: set[str], renamed: list[tuple[str, str]]) -> str:
    name = free_name(cleaned_name(former), taken)
    taken.add(name)
    if name != former:
        renamed.append((former, name))
    return name
