"""Everything that can go wrong, named after the fact.

::

    LoguiError
    ├── CannotStart             the server does not start: one line says why
    │   ├── BadOption               an option or a configuration key
    │   ├── DataFolderUnusable      unwritable, in use, or written by a newer version
    │   ├── DatabaseUnusable        the registry's database is away, or written by a newer version
    │   ├── KeysUnusable            there is no key to sign with
    │   └── CannotListen            an endpoint is taken or not allowed
    ├── HandshakeRefused        a client may not log; carries the cause
    ├── BadRequest              a message that was not understood
    │   ├── TooManyEvents           a payload holds more of them than allowed
    │   └── BadEvent                one event of a payload is malformed; carries its position and a copy
    ├── RequestRefused          an HTTP request is answered with an error; carries its status
    ├── NotStored               events could not be written; nothing of the payload is stored
    ├── Superseded              a page load has gone on at another server while it shook hands here
    ├── StoreAway               the session store does not answer
    ├── SinkAway                a sink takes nothing at the moment; may say when to try again
    ├── RecordsRefused          a sink will never take these records
    ├── RegistryError           an application or flight cannot be made, found or changed
    │   ├── UnknownApplication
    │   ├── UnknownFlight
    │   ├── NameTaken
    │   ├── AmbiguousName
    │   ├── InvalidDomain
    │   └── InvalidSetting
    ├── InvalidToken            a token that this server did not sign
    ├── BadExport               a download of the released LogUI server that breaks off or is none
    └── JournalError
        ├── CorruptSegment          a checksum or a length does not hold
        ├── UnknownSession
        ├── UnknownSink
        └── SinkInUse               a server delivers to the sink
"""

from __future__ import annotations

from enum import Enum


class LoguiError(Exception):
    """The root: its text is written for the one who caused it and holds no secret."""


class CannotStart(LoguiError):
    """The server does not start; the text is one line."""


class BadOption(CannotStart):
    """An option or a configuration key is unknown or has a wrong value."""


class DataFolderUnusable(CannotStart):
    """The data folder is unwritable, in use by another server, or written by a newer version."""


class DatabaseUnusable(CannotStart):
    """The registry's database does not answer, is none, or was written by a newer version."""


class KeysUnusable(CannotStart):
    """The file of the signing keys is missing, unreadable or holds no good key."""


class CannotListen(CannotStart):
    """An endpoint is in use or not allowed."""


class Refusal(Enum):
    """Why a handshake is refused; the dialects translate it (close codes, texts)."""

    MALFORMED = "malformed"
    FIELD = "field"
    VERSION = "version"
    TOKEN = "token"  # noqa: S105 - a cause, not a secret
    DOMAIN = "domain"
    SESSION = "session"
    INACTIVE = "inactive"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"


class HandshakeRefused(LoguiError):
    """The client may not log; the text names the cause precisely and never echoes a secret."""

    def __init__(self, cause: Refusal, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class BadRequest(LoguiError):
    """A message that was not understood (401 in LogUI 0.4 and kraken)."""


class TooManyEvents(BadRequest):
    """A payload holds more events than allowed."""


class BadEvent(BadRequest):
    """The first malformed event of a payload (403 in LogUI 0.4 and kraken).

    ``position`` is zero-based, None for an event that came by itself; ``copy`` is the event as the client
    sent it.
    """

    def __init__(self, position: int | None, copy: bytes, text: str) -> None:
        super().__init__(text)
        self.position = position
        self.copy = copy


class RequestRefused(LoguiError):
    """An HTTP request is answered with this status; the text says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class NotStored(LoguiError):
    """Events could not be written to the journal; the client may send them again."""


class Superseded(LoguiError):
    """A page load has gone on at another server while it shook hands with this one."""


class StoreAway(LoguiError):
    """The session store does not answer, or refuses to keep anything."""


class SinkAway(LoguiError):
    """A sink takes nothing at the moment: the same batch is offered again.

    ``retry_after`` is the least number of seconds until then, where the sink was told one.
    """

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class RecordsRefused(LoguiError):
    """A sink will never take this batch as it is; nothing of it may have been kept."""


class RegistryError(LoguiError):
    """An application or flight cannot be made, found or changed."""


class UnknownApplication(RegistryError):
    """There is no application of this name or id."""


class UnknownFlight(RegistryError):
    """There is no flight of this id or name."""


class NameTaken(RegistryError):
    """Another application, or another flight of the application, has this name."""


class AmbiguousName(RegistryError):
    """Several flights have this name: the id is needed."""


class InvalidDomain(RegistryError):
    """A flight's domain entry that could never match."""


class InvalidSetting(RegistryError):
    """A flight's listeners, sampling or metadata that cannot be kept."""


class InvalidToken(LoguiError):
    """A token that no key of this server has signed, or whose content is not a flight's."""


class BadExport(LoguiError):
    """A download of the released LogUI server breaks off, or is none, at this ``place`` (bytes from 0)."""

    def __init__(self, place: int, text: str) -> None:
        super().__init__(text)
        self.place = place


class JournalError(LoguiError):
    """The journal cannot be read or written as it should."""


class CorruptSegment(JournalError):
    """A segment's checksum, length or format does not hold."""


class UnknownSession(JournalError):
    """There is no session of this id."""


class UnknownSink(JournalError):
    """The journal was never delivered to a sink of this name."""


class SinkInUse(JournalError):
    """A running server delivers to the sink: it cannot be forgotten."""
