"""The whole way of a released LogUI server's data into this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from attrs import define, field

from logui_tx.errors import BadExport, BadRequest, JournalError, LoguiError
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.schema import open_reader
from logui_tx.migration.download import Document, Download
from logui_tx.migration.events import read_event
from logui_tx.migration.feed import JournalFeed
from logui_tx.migration.fqdn import domain_of
from logui_tx.migration.old_server import OldApplication, OldFlight, open_old_server
from logui_tx.migration.sessions import Counts, PastSessions, session_of_the_rest
from logui_tx.model import Application, Flight
from logui_tx.registry.adoption import Adoption
from logui_tx.registry.registry import CLIENT_VERSION, Registry


@define
class LeftOut:
    """Events that were not imported for one reason: how many, and where the first stands, in bytes from 0."""

    why: str
    file: str
    place: int
    events: int = 0


@define
class Summary:
    """What became of everything. ``faults`` tell of files that were not read to their end."""

    applications: int = 0
    applications_there: int = 0
    flights: int = 0
    flights_there: int = 0
    counts: Counts = field(factory=Counts)
    left_out: dict[str, LeftOut] = field(factory=dict)
    notes: list[str] = field(factory=list)
    faults: list[LeftOut] = field(factory=list)


def migrate(
    uri: str,
    files: Sequence[Path],
    registry: Registry,
    data_dir: Path,
    now: int,
    advance: Callable[[int], None],
) -> Summary:
    """Import all of it, each thing once: what is there stays. The data folder is locked by the caller.

    ``uri`` is the released server's database, ``now`` in UNIX ms; ``advance`` is told how many bytes of the
    files were read. Raises :class:`BadOption` and :class:`DatabaseUnusable` as :func:`open_old_server`,
    :class:`RegistryError`, :class:`DataFolderUnusable`, :class:`JournalError`, and :class:`LoguiError` for a
    file that cannot be opened; asked again, it goes on where it stood.
    """
    for file in files:
        _check(file)
    summary = Summary()
    with ExitStack() as snapshot:
        server = snapshot.enter_context(open_old_server(uri))
        flights = server.flights()
        _adopt(registry, server.applications(), flights, now, summary)
        with _past_sessions(data_dir, flights, now) as sessions:
            summary.counts = sessions.counts
            for session in server.sessions():
                sessions.add(session)
            sessions.all_added()
            # Files may take their time, and that database has no need to wait for them.
            snapshot.close()
            for file in files:
                _import(file, sessions, summary, advance)
            sessions.end()
    summary.notes += [
        f"events of the flight {flight} that name none of its sessions are in the session "
        f"{session_of_the_rest(flight)}"
        for flight in sorted(sessions.flights_with_rest)
    ]
    return summary


@contextmanager
def _past_sessions(data_dir: Path, flights: Sequence[OldFlight], now: int) -> Iterator[PastSessions]:
    """The journal's; all is on disk at the end."""
    feed = JournalFeed(data_dir)
    feed.start(now)
    with feed, closing(open_reader(data_dir)) as connection:
        try:
            yield PastSessions(feed, JournalReader(connection), flights, now)
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be read: {error}") from error


def _check(file: Path) -> None:
    """Before anything is written."""
    try:
        if not file.exists() or file.is_file():
            file.open("rb").close()
        elif file.is_dir():
            raise LoguiError(f"{file} is a folder")
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> LoguiError:
    return LoguiError(f"{file} cannot be read: {error.strerror}")


# --- applications and flights


def _adopt(
    registry: Registry,
    applications: Sequence[OldApplication],
    flights: Sequence[OldFlight],
    now: int,
    summary: Summary,
) -> None:
    made = registry.adopt(
        [Application(each.id, each.name, each.created_at or now) for each in applications],
        [_flight(each, now) for each in flights],
    )
    summary.applications = len(made.applications)
    summary.applications_there = len(applications) - len(made.applications)
    summary.flights = len(made.flights)
    summary.flights_there = len(flights) - len(made.flights)
    summary.notes += _notes(made, flights)


def _flight(old: OldFlight, now: int) -> Flight:
    return Flight(
        id=old.id,
        application_id=old.application_id,
        name=old.name,
        domains=(domain_of(old.fqdn).domain,),
        active=old.active,
        client_version=CLIENT_VERSION,
        created_at=old.created_at or now,
    )


def _notes(made: Adoption, flights: Iterable[OldFlight]) -> list[str]:
    notes = [f"{former!a} is called {present!r} here" for former, present in made.renamed]
    new = {flight.id: flight for flight in made.flights}
    for old in flights:
        note = domain_of(old.fqdn).note
        if old.id in new and note is not None:
            notes.append(f"the flight {new[old.id].name!r} {note}")
    return notes


# --- events


def _import(file: Path, sessions: PastSessions, summary: Summary, advance: Callable[[int], None]) -> None:
    """A file's events, as far as it can be read."""
    try:
        with file.open("rb") as opened:
            download = Download(opened)
            before = 0
            try:
                for document in download:
                    _log(document, file, sessions, summary)
                    advance(download.place - before)
                    before = download.place
            except BadExport as error:
                summary.faults.append(LeftOut(str(error), str(file), error.place))
    except OSError as error:
        raise _unreadable(file, error) from error
    sessions.end_file()


def _log(document: Document, file: Path, sessions: PastSessions, summary: Summary) -> None:
    try:
        event = read_event(document.text)
        if event.flight_id is None or not sessions.knows(event.flight_id):
            raise BadRequest("it names no flight of the LogUI server")
    except BadRequest as error:
        why = str(error)
        summary.left_out.setdefault(why, LeftOut(why, str(file), document.place)).events += 1
    else:
        sessions.log(event)
