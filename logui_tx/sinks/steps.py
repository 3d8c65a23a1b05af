"""What can be done to records on their way to a sink: fields dropped, hashed or shortened, moves sampled.

A field is written as a path: ``event.eventDetails.value``, ``appSpecificLogData.user`` (of records and
sessions), or of sessions ``userAgent``, ``origin``, ``referrer``, ``device``, ``visitorID``. A dot within a
name stands behind a backslash. What an event of LogUI 0.5 bears as ``applicationSpecificData`` is
``appSpecificLogData`` again. Everything that is not concerned stays as the client wrote it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, evolve, field, frozen
from msgspec.structs import replace
from twisted.plugin import IPlugin
from zope.interface import implementer

from logui_tx.dialects import json_text, values
from logui_tx.dialects.json_text import BadJSON
from logui_tx.interfaces import IStep, IStepMaker
from logui_tx.model import Record, Session

Change = Callable[[bytes], bytes | None]
"""A value's JSON to what it becomes; None where the member goes."""

_SESSION_FIELDS = {
    "userAgent": "user_agent",
    "origin": "origin",
    "referrer": "referrer",
    "device": "device",
    "visitorID": "visitor_id",
}
_BORNE = "applicationSpecificData"
"""Where an event of LogUI 0.5 bears the data itself (PROTOCOL, section 2)."""
_DOT = re.compile(r"(?<!\\)\.")
_IPV4, _IPV6 = 24, 48
_CREDENTIALS = re.compile(r"^((?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//)[^/]*@")
# As in X-Forwarded-For and Forwarded.
_WORD = re.compile(r"[^\s,;=\"']+")
_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([\d.]+):\d+")
_LEAST_KEY = 16
_SESSIONS_KEPT = 10_000
_DATA_KEPT = 16

_encode = msgspec.json.encode


@implementer(IPlugin, IStepMaker)
@frozen
class StepMaker:
    """``make`` is given what is written behind the colon."""

    name: str
    summary: str
    form: str
    make: Callable[[str], IStep]


# --- fields


@implementer(IStep)
@frozen(eq=False)
class FieldStep:
    """Changes one field, given by its path."""

    path: Sequence[str]
    change: Change
    _changed_data: Callable[[bytes], bytes] = field(init=False)

    @_changed_data.default
    def _(self) -> Callable[[bytes], bytes]:
        # A session's events have the same data, and it may be large.
        return lru_cache(_DATA_KEPT)(lambda data: changed(data, self.path[1:], self.change))

    def record(self, record: Record) -> Record:
        """See :meth:`IStep.record`."""
        where, *rest = self.path
        if where == "event":
            return replace(record, event=changed(record.event, rest, self.change))
        if where == "appSpecificLogData":
            event = record.event
            if record.dialect == "logui-0.5":
                event = changed(event, [_BORNE, *rest], self.change)
            return replace(record, app_data=self._changed_data(record.app_data), event=event)
        return record

    def session(self, session: Session) -> Session:
        """See :meth:`IStep.session`."""
        where = self.path[0]
        if where == "appSpecificLogData":
            return evolve(session, app_data=self._changed_data(session.app_data))
        name = _SESSION_FIELDS.get(where)
        before = None if name is None else getattr(session, name)
        if name is None or before is None:
            return session
        after = self.change(_encode(before))
        found: dict[str, Any] = {name: None if after is None else values.text(after)}
        return evolve(session, **found)


def changed(written: bytes, path: Sequence[str], change: Change) -> bytes:
    """The JSON with the member at ``path`` changed, if it is there, each of them where keys are equal; ``{}``
    where the whole object goes. Raises :class:`BadJSON`."""
    if not path:
        return change(written) or b"{}"
    # An array, a text or a number has no members.
    if written.lstrip()[:1] != b"{":
        return written
    name, *rest = path
    pairs = json_text.pairs(written)
    if all(key != name for key, _ in pairs):
        return written
    found: list[tuple[str, bytes]] = []
    for key, value in pairs:
        after = value if key != name else changed(value, rest, change) if rest else change(value)
        if after is not None:
            found.append((key, after))
    return json_text.joined(found)


def _path(written: str) -> list[str]:
    path = [part.replace("\\.", ".") for part in _DOT.split(written)]
    if path[0] in ("event", "appSpecificLogData") or (path[0] in _SESSION_FIELDS and len(path) == 1):
        return path
    raise ValueError(
        f"a path begins with event, appSpecificLogData or is one of {', '.join(_SESSION_FIELDS)}"
    )


def _drop(argument: str) -> IStep:
    return FieldStep(_path(argument), lambda _value: None)


def _hash(argument: str) -> IStep:
    path, at, file = argument.partition("@")
    if not at:
        raise ValueError("the file of a key is expected behind an @")
    try:
        key = Path(file).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    if len(key) < _LEAST_KEY:
        raise ValueError(f"the key in {file} has less than {_LEAST_KEY} characters")

    def change(value: bytes) -> bytes:
        return _encode(hmac.new(key, canonical(value), hashlib.sha256).hexdigest()[:32])

    return FieldStep(_path(path), change)


def canonical(written: bytes) -> bytes:
    """The same for the same value, however it is written in JSON; of a number each way is another one."""
    if written.lstrip()[:1] in (b'"', b"[", b"{"):
        value = json_text.value(written)
        if isinstance(value, str):
            return json_text.string(value)
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return written.strip()


def _shorten(argument: str) -> IStep:
    def short(value: bytes) -> bytes:
        return json_text.string(shortened(json_text.value(value))) if value.lstrip()[:1] == b'"' else value

    def change(value: bytes) -> bytes:
        if value.lstrip()[:1] == b"[":
            return b"[%b]" % b",".join(map(short, json_text.elements(value)))
        return short(value)

    return FieldStep(_path(argument), change)


def shortened(text: str) -> str:
    """A URL without credentials, query and fragment; IP addresses, of which there may be several, maybe with
    ports, as their networks (/24, /48)."""
    place = _CREDENTIALS.sub(r"\1", re.split(r"[?#]", text, maxsplit=1)[0])
    return _WORD.sub(lambda word: _network(word[0]), place)


def _network(word: str) -> str:
    """Of an address, maybe with a port; any other word as it is."""
    with_port = _PORT.fullmatch(word)
    try:
        address = ipaddress.ip_address((with_port[1] or with_port[2]) if with_port else word)
    except ValueError:
        return word
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            # Without its scope.
            return str(ipaddress.IPv6Network((int(address), _IPV6), strict=False).network_address)
        address = address.ipv4_mapped
    return str(ipaddress.IPv4Network((int(address), _IPV4), strict=False).network_address)


# --- moves


@implementer(IStep)
@define(eq=False)
class SampleStep:
    """Of each session's pointer moves, at most one in ``interval`` ms."""

    interval: int
    _last: OrderedDict[str, int] = field(factory=OrderedDict)

    def record(self, record: Record) -> Record | None:
        """See :meth:`IStep.record`."""
        if record.client_time is None or not is_move(record):
            return record
        last = self._last.get(record.session_id)
        if last is not None and 0 <= record.client_time - last < self.interval:
            return None
        self._last[record.session_id] = record.client_time
        self._last.move_to_end(record.session_id)
        if len(self._last) > _SESSIONS_KEPT:
            self._last.popitem(last=False)
        return record

    def session(self, session: Session) -> Session:
        """See :meth:`IStep.session`."""
        return session


def is_move(record: Record) -> bool:
    """Whether the event tells only where the pointer was."""
    try:
        event = json_text.members(record.event)
        if record.dialect == "kraken":
            return bool(json_text.value(event.get("type", b"null")) == 1)
        details = json_text.members(event.get("eventDetails", b"{}"))
    except BadJSON:
        return False
    told = {name: values.text(details.get(name, b"null")) for name in ("type", "trackingType")}
    return told["type"] == "mousemove" or told["trackingType"] == "positionUpdate"


def _sample(argument: str) -> IStep:
    if not re.fullmatch(r"[1-9]\d{0,8}", argument):
        raise ValueError("a number of milliseconds is expected")
    return SampleStep(int(argument))


drop = StepMaker("drop", "leaves a field out", "drop:event.eventDetails.value", _drop)
hash_ = StepMaker(
    "hash",
    "puts a keyed hash in a field's place: the same for the same value",
    "hash:appSpecificLogData.user@/etc/logui/hash.key",
    _hash,
)
shorten = StepMaker(
    "shorten", "cuts an IP address to its network, a URL to its path", "shorten:referrer", _shorten
)
sample = StepMaker("sample", "lets one pointer move through in so many milliseconds", "sample:100", _sample)
