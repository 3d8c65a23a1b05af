"""``redis:`` appends to a Redis Stream, and keeps sessions in a hash. Of a journal with the id JOURNAL::

    STREAM:JOURNAL            stream: an entry a record, its id SEGMENT-EVENT, its field ``record`` JSON
    STREAM:JOURNAL:late       hash: what came when the stream was past it; JSON by record id
    STREAM:JOURNAL:sessions   hash: sessions as they stand; JSON by session id
    STREAM:journals           hash: up to which SEGMENT-EVENT each journal is here

Each journal has a stream of its own because a stream's ids only rise. So what is there already is known by
its id; a batch is one script, which Redis runs as one step.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from logui_tx.errors import BadOption, SinkAway, StoreAway
from logui_tx.interfaces import ISink
from logui_tx.model import Position, SinkBatch, SinkURI
from logui_tx.records import record_json, session_json
from logui_tx.redis.address import RedisAddress, make_address
from logui_tx.redis.link import RedisLink

_OPTION = "sink: redis"
_SOCKET = "redis+unix"
_STATE = re.compile(rb"(\d+-\d+) ((\d+)-(\d+)) (\S+)")

# Of the four keys: the journal's id; the last entry, and how far the journal is here, as far as is known (or
# ""); about how many entries are to stay (or ""); up to where the batch reaches; how many sessions, the
# sessions (id, JSON), the records (entry's id, JSON). Whether something is lost, and those two by now.
_WRITE = """
local function above(a, b)
  local a1, a2 = string.match(a, '(%d+)-(%d+)')
  local b1, b2 = string.match(b, '(%d+)-(%d+)')
  if a1 == b1 then return tonumber(a2) > tonumber(b2) end
  return tonumber(a1) > tonumber(b1)
end

local stream, late, sessions, journals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local last, info = '0-0', {}
if redis.call('EXISTS', stream) == 1 then
  local told = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #told, 2 do info[told[i]] = told[i + 1] end
  last = info['last-generated-id']
end
local reach = redis.call('HGET', journals, ARGV[1]) or '0-0'
if ARGV[2] ~= '' and (above(ARGV[2], last) or above(ARGV[3], reach)) then return {1, last, reach} end

-- Whether an entry, which the stream is past, never was there, as far as can be told.
local function missing(id)
  if #redis.call('XRANGE', stream, id, id) > 0 then return false end
  if info['length'] == info['entries-added'] then return true end
  local first = info['first-entry']
  return first and above(id, first[1]) and above(id, info['max-deleted-entry-id'] or last)
end

local at = 7 + 2 * tonumber(ARGV[6])
for i = 7, at - 1, 2 do redis.call('HSET', sessions, ARGV[i], ARGV[i + 1]) end
for i = at, #ARGV, 2 do
  local id, record = ARGV[i], ARGV[i + 1]
  if above(id, last) then
    redis.call('XADD', stream, id, 'record', record)
    last = id
  elseif missing(id) then
    redis.call('HSETNX', late, ARGV[1] .. '-' .. id, record)
  end
end
if ARGV[4] ~= '' then redis.call('XTRIM', stream, 'MAXLEN', '~', ARGV[4]) end
if above(ARGV[5], reach) then reach = ARGV[5] end
-- Written in any case: WAIT waits for what this connection has written.
redis.call('HSET', journals, ARGV[1], reach)
return {0, last, reach}
"""


@implementer(ISink)
class RedisStreamSink:
    """See :class:`ISink`. Its state: the id of the stream's last entry, how far the journal is, its id."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        """Raises :class:`BadOption`."""
        parameters = uri.parameters
        self._address = _address(uri)
        self._stream: str = parameters["stream"]
        self._maxlen: int | None = parameters["maxlen"]
        self._replicas: int = parameters["replicas"]
        self._go_on = parameters["lost"] == "go-on"
        self._known = b""
        self._away = "there is no connection yet"
        self._started = self._closed = False
        self._waiting: list[Deferred[None]] = []
        self._link = RedisLink(reactor, self._address, self._connected, self._lost)

    def open(self, state: bytes) -> Deferred[None]:
        """See :meth:`ISink.open`."""
        self._known = state
        if self._link.up:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if not self._started:
            self._started = True
            self._link.start()
        return waiting

    def prepare(self, batch: SinkBatch) -> None:  # noqa: ARG002
        """Whatever a batch holds of what is there is left out."""
        return

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        """See :meth:`ISink.write`."""
        if not self._link.up:
            return fail(SinkAway(self._away))
        return Deferred.fromCoroutine(self._write(batch))

    def close(self) -> Deferred[None]:
        """See :meth:`ISink.close`."""
        self._closed = True
        self._link.stop()
        return succeed(None)

    # --- a batch

    async def _write(self, batch: SinkBatch) -> bytes:
        try:
            lost, *known = await self._link.script(_WRITE, self._keys(batch), self._arguments(batch))
            now = b" ".join([*known, batch.journal_id.encode()])
            if int(lost):
                raise SinkAway(self._what_is_lost(now))
            if self._replicas:
                await self._wait_for_replicas()
        except StoreAway as why:
            raise SinkAway(self._explained(str(why))) from None
        except (TypeError, ValueError):
            raise SinkAway("what answers there is not Redis") from None
        self._known = now
        return now

    def _keys(self, batch: SinkBatch) -> list[bytes]:
        own = f"{self._stream}:{batch.journal_id}"
        names = own, f"{own}:late", f"{own}:sessions", f"{self._stream}:journals"
        return [name.encode() for name in names]

    def _arguments(self, batch: SinkBatch) -> list[bytes]:
        after, maxlen = batch.after, self._maxlen
        sessions = [word for one in batch.sessions for word in (one.id.encode(), session_json(one))]
        records = [word for one in batch.records for word in (_id(one.position), record_json(one))]
        return [
            batch.journal_id.encode(),
            *self._expected(batch),
            b"" if maxlen is None else b"%d" % maxlen,
            _id(after),
            b"%d" % len(batch.sessions),
            *sessions,
            *records,
        ]

    def _expected(self, batch: SinkBatch) -> tuple[bytes, bytes]:
        """What must be there: nothing where the journal is new, or Redis is told again what it was told."""
        found = _STATE.fullmatch(self._known)
        if found is None or self._go_on or found[5] != batch.journal_id.encode():
            return b"", b""
        if Position(int(found[3]), int(found[4])) > batch.first:
            return b"", b""
        return found[1], found[2]

    async def _wait_for_replicas(self) -> None:
        # Half of the time that the command itself may take.
        milliseconds = max(1, round(self._address.timeout * 500))
        there = await self._link.command("WAIT", self._replicas, milliseconds)
        if int(there) < self._replicas:
            raise SinkAway(f"only {there} of {self._replicas} replicas have the batch")

    def _what_is_lost(self, now: bytes) -> str:
        (last, reach, _), (before_last, before_reach, _) = now.decode().split(), self._known.decode().split()
        return (
            f"Redis has lost something: it had {before_last} and was told what comes before {before_reach},"
            f" now it has {last} and what comes before {reach}; logui sink rewind sends it again,"
            " ?lost=go-on goes on without it"
        )

    def _explained(self, why: str) -> str:
        if "WRONGTYPE" in why:
            return f"a key {self._stream}:... holds something else, name another by ?stream=: {why}"
        return why

    # --- the connection

    def _connected(self) -> None:
        self._settle(lambda waiting: waiting.callback(None))

    def _lost(self, why: str) -> None:
        self._away = why
        self._settle(lambda waiting: waiting.errback(SinkAway(why)))

    def _settle(self, settle: Callable[[Deferred[None]], None]) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not self._closed:
                settle(one)


def _id(position: Position) -> bytes:
    return b"%d-%d" % (position.segment, position.event)


def _address(uri: SinkURI) -> RedisAddress:
    """Raises :class:`BadOption`."""
    parameters = uri.parameters
    if uri.user is not None and uri.password is None:
        raise BadOption(f"{_OPTION}: a user without a password: redis://user:password@host")
    if uri.scheme != "rediss" and any(parameters[name] is not None for name in ("ca", "cert", "key")):
        raise BadOption(f"{_OPTION}: ca, cert and key are for rediss:")
    if uri.scheme != _SOCKET and parameters["database"] is not None:
        raise BadOption(f"{_OPTION}: the database is the path: redis://host:6379/0")
    try:
        place = urlsplit(f"//{uri.host}")
        host, port = place.hostname or "", place.port
    except ValueError:
        host, port = uri.host, 0
    return make_address(
        uri.scheme,
        host,
        port,
        uri.path.removeprefix("/").split("/"),
        option=_OPTION,
        user=uri.user,
        password=uri.password,
        database=parameters["database"] or "",
        timeout=parameters["timeout"],
        ca=parameters["ca"],
        cert=parameters["cert"],
        key=parameters["key"],
    )
