"""The session store on Redis (7 or any later; a single one, not a cluster).

::

    PREFIX:session:ID    hash: view:SERVER (opaque), reserved (the last sequence number that is held)
    PREFIX:ticket:ID     a ticket that was issued and not used yet
    PREFIX:used:ID       a ticket that was issued without Redis and is used
    PREFIX:servers       sorted set: the servers, by when they were last heard of
    PREFIX:life          a random text; another one tells that the data was lost meanwhile
    PREFIX:to:SERVER     channel of one server
    PREFIX:all           channel of all

While Redis is away (no connection, no answer in time, or it refuses to write) nothing waits for it; a probe a
second finds out when it is back, writes what could not be written, and only then is it used again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from logui_tx.errors import StoreAway
from logui_tx.interfaces import ISessionStore
from logui_tx.model import Kept, Known
from logui_tx.redis.address import RedisAddress
from logui_tx.redis.link import RedisLink
from logui_tx.stores.redis.scripts import HEARTBEAT, RESERVE, SAVE
from logui_tx.stores.redis.unwritten import Unwritten

log = Logger()

PROBE_INTERVAL = 1.0
NEW_LIFE = 60.0
"""Seconds after a loss of data in which no numbers are reserved: servers tell again which ones they hold."""
_FORGETFUL = "it has lost what it knew, and is being told again"
_CHUNK = 200
_NAME_BYTES = 16
_DEAF = 3
"""Beats of one's own that are not heard, after which a subscription counts as dead."""


@implementer(ISessionStore)
class RedisSessionStore:
    """One server's end. ``servers`` is how many there are, this one included, as far as was heard."""

    name = "redis"
    shared = True

    def __init__(self, reactor: Any, address: RedisAddress) -> None:
        self._reactor = reactor
        self._prefix = address.prefix.encode() + b":"
        self.away: str | None = "there is no connection yet"
        self.servers = 1
        self._server = ""
        # Among all that hear a channel, this end knows its own words.
        self._mark = os.urandom(_NAME_BYTES)
        self._deaf = 0
        self._doubles = 0
        self._ear_trouble = ""
        self._life: bytes | None = None
        self._new_life: IDelayedCall | None = None
        self._heard: Callable[[bytes], None] = lambda _message: None
        self._back: Callable[[], None] = lambda: None
        self._unwritten = Unwritten()
        self._serial = 0
        self._used: dict[str, tuple[bool, float, IDelayedCall]] = {}
        self._probe: IDelayedCall | None = None
        self._probing = False
        self._ready: list[Deferred[None]] = []
        self._closed = False
        self._link = RedisLink(reactor, address, self._connected, self._lost)
        self._address = address
        self._ear: RedisLink | None = None

    # --- being there

    def start(self, server: str, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:
        """See :meth:`ISessionStore.start`."""
        self._server, self._heard, self._back = server, heard, back
        self._ear = RedisLink(
            self._reactor,
            self._address,
            self._ear_up,
            self._ear_lost,
            (self._text("to:" + server), self._text("all")),
            self._hear,
        )
        self._link.start()
        self._ear.start()

    def _ear_up(self) -> None:
        self._deaf, self._ear_trouble = 0, ""
        self._tell_ready()

    def _ear_lost(self, why: str) -> None:
        if why != self._ear_trouble and self.away is None and not self._closed:
            log.warn("nothing is heard from other servers over the session store: {why}", why=why)
        self._ear_trouble = why

    def when_ready(self) -> Deferred[None]:
        """See :meth:`ISessionStore.when_ready`."""
        ready: Deferred[None] = Deferred()
        self._ready.append(ready)
        self._tell_ready()
        return ready

    def close(self) -> Deferred[None]:
        """See :meth:`ISessionStore.close`."""
        if not self._closed:
            self._closed = True
            self.away = "this server has stopped"
            if self._probe is not None:
                self._probe.cancel()
            if self._new_life is not None:
                self._new_life.cancel()
            while self._used:
                self._used.popitem()[1][2].cancel()
            self._link.stop()
            if self._ear is not None:
                self._ear.stop()
        return succeed(None)

    def check(self) -> Deferred[None]:
        """See :meth:`ISessionStore.check`."""
        return succeed(None) if self.away is None else fail(StoreAway(self.away))

    def _tell_ready(self) -> None:
        if self.away is None and self._ear is not None and self._ear.up:
            ready, self._ready = self._ready, []
            for waiting in ready:
                waiting.callback(None)

    def _connected(self) -> None:
        self._look()

    def _lost(self, why: str) -> None:
        if self._closed:
            return
        if self.away is None:
            log.warn("the session store is away: {why}; nothing waits for it until it is back", why=why)
        self.away = why
        if self._probe is None:
            self._probe = self._reactor.callLater(PROBE_INTERVAL, self._look)

    def _look(self) -> None:
        """See how Redis is, now and again in a second."""
        if self._probe is not None and self._probe.active():
            self._probe.cancel()
        self._probe = None if self._closed else self._reactor.callLater(PROBE_INTERVAL, self._look)
        if self._link.up and not self._probing and not self._closed:
            self._probing = True
            looking = Deferred.fromCoroutine(self._beat())
            looking.addErrback(lambda failure: self._lost(str(failure.trap(StoreAway) and failure.value)))
            looking.addErrback(lambda failure: log.failure("the session store", failure=failure))
            looking.addBoth(self._looked)

    def _looked(self, _outcome: Any) -> None:
        self._probing = False

    async def _beat(self) -> None:
        try:
            await self._say_and_hear()
        except (TypeError, ValueError):
            raise StoreAway("what answers there is not Redis") from None
        if self.away is None:
            return
        await self._write_back()
        if self._closed:
            return
        self.away = None
        log.info("the session store answers")
        self._back()
        self._tell_ready()

    async def _say_and_hear(self) -> None:
        keys, arguments = [self._key("servers"), self._key("life")], [self._server, os.urandom(16).hex()]
        servers, life = await self._link.script(HEARTBEAT, keys, arguments)
        self.servers = int(servers)
        lost, self._life = self._life not in (None, life), life
        if lost:
            self._begin_new_life()
        await self._listen_to_itself()

    async def _listen_to_itself(self) -> None:
        """A subscription can be dead without a word; and nobody else may bear this server's name."""
        if not self._server or self._ear is None:
            return
        if self._ear.up and self._deaf >= _DEAF:
            self._ear.drop()
        self._deaf = self._deaf + 1 if self._ear.up else 0
        hearers = int(await self._link.command("PUBLISH", self._key("to:" + self._server), self._mark))
        self._doubles = self._doubles + 1 if hearers > 1 else 0

    @property
    def trouble(self) -> str | None:
        """See :attr:`ISessionStore.trouble`."""
        if self.away is not None:
            return self.away
        if self._ear is not None and (not self._ear.up or self._deaf > _DEAF):
            return "nothing is heard from other servers"
        if self._doubles >= _DEAF:
            return "another server has the same journal: a copied data folder?"
        return None

    def _begin_new_life(self) -> None:
        log.warn("the session store has lost what it knew; it is told again")
        if self._new_life is not None:
            self._new_life.cancel()
        self._new_life = self._reactor.callLater(NEW_LIFE, self._end_new_life)
        if self.away is None:
            self._back()

    def _end_new_life(self) -> None:
        self._new_life = None

    async def _write_back(self) -> None:
        while self._unwritten:
            serial, sessions, ttl = self._unwritten.first(_CHUNK)
            await self._send(sessions, ttl)
            self._unwritten.written(serial, sessions)
        for ticket_id, (kept, ttl, _over) in list(self._used.items()):
            if kept:
                await self._link.command("DEL", self._key("ticket:" + ticket_id))
            else:
                await self._link.command("SET", self._key("used:" + ticket_id), "1", "PX", _ms(ttl))

    # --- sessions

    def load(self, session_id: str) -> Deferred[Known]:
        """See :meth:`ISessionStore.load`."""
        if self.away is not None:
            return succeed(self._known_here(session_id))
        asked = self._link.command("HGETALL", self._session(session_id))
        return asked.addCallbacks(_known, self._not_loaded, errbackArgs=(session_id,))

    def _not_loaded(self, failure: Any, session_id: str) -> Known:
        why = str(failure.trap(StoreAway) and failure.value)
        if "WRONGTYPE" in why:
            # Somebody else's key in our place: it goes when the session is saved.
            return Known({})
        self._lost(why)
        return self._known_here(session_id)

    def _known_here(self, session_id: str) -> Known:
        view = self._unwritten.view(session_id)
        return Known({} if view is None else {self._server: view})

    def save(self, sessions: Mapping[str, Kept], ttl: float) -> Deferred[None]:
        """See :meth:`ISessionStore.save`."""
        self._serial += 1
        if not sessions:
            return succeed(None)
        if self.away is not None:
            self._unwritten.add(self._serial, sessions, ttl)
            return succeed(None)
        sent = [self._save_some(part, ttl) for part in _parts(sessions)]
        return sent[0] if len(sent) == 1 else DeferredList(sent).addCallback(lambda _: None)

    def _save_some(self, sessions: Mapping[str, Kept], ttl: float) -> Deferred[None]:
        serial = self._serial

        def saved(_answer: Any) -> None:
            # An earlier save may have been refused.
            self._unwritten.written(serial, sessions)

        def unsaved(failure: Any) -> None:
            failure.trap(StoreAway)
            self._unwritten.add(serial, sessions, ttl)
            self._lost(str(failure.value))

        return self._send(sessions, ttl).addCallbacks(saved, unsaved)

    def _send(self, sessions: Mapping[str, Kept], ttl: float) -> Deferred[Any]:
        arguments: list[Any] = [self._server]
        for kept in sessions.values():
            unused_above = "" if kept.unused_above is None else kept.unused_above
            arguments += [kept.view, kept.numbers_to, unused_above, _ms(ttl)]
        return self._link.script(SAVE, [self._session(name) for name in sessions], arguments)

    def reserve(self, session_id: str, count: int, above: int, ttl: float) -> Deferred[int]:
        """See :meth:`ISessionStore.reserve`."""
        if self.away is not None:
            return fail(StoreAway(self.away))
        if self._new_life is not None:
            return fail(StoreAway(_FORGETFUL))
        keys = [self._session(session_id), self._key("life")]
        asked = self._link.script(RESERVE, keys, [count, above, _ms(ttl), self._life or b""])
        return asked.addCallbacks(self._reserved, self._note_away)

    def _reserved(self, last: Any) -> int:
        if last is None:
            self._look()
            raise StoreAway(_FORGETFUL)
        return int(last)

    def forget(self, session_id: str) -> Deferred[None]:
        """See :meth:`ISessionStore.forget`."""
        if self.away is not None:
            return fail(StoreAway(self.away))
        asked = self._link.command("DEL", self._session(session_id))
        return asked.addCallbacks(lambda _: None, self._note_away)

    def _note_away(self, failure: Any) -> Any:
        if failure.check(StoreAway):
            self._lost(str(failure.value))
        return failure

    # --- other servers

    def tell(self, server: str | None, message: bytes) -> Deferred[int]:
        """See :meth:`ISessionStore.tell`."""
        if self.away is not None:
            return succeed(0)
        channel = self._key("all" if server is None else "to:" + server)
        told = self._link.command("PUBLISH", channel, self._mark + message)
        own = 1 if server in (None, self._server) and self._ear is not None and self._ear.up else 0
        return told.addCallbacks(lambda hearers: max(0, int(hearers) - own), self._untold)

    def _untold(self, failure: Any) -> int:
        self._lost(str(failure.trap(StoreAway) and failure.value))
        return 0

    def _hear(self, _channel: bytes, message: bytes) -> None:
        if message[:_NAME_BYTES] == self._mark:
            self._deaf = 0
        elif message[_NAME_BYTES:]:
            self._heard(message[_NAME_BYTES:])

    # --- tickets

    def keep_ticket(self, ticket_id: str, ttl: float) -> Deferred[bool]:
        """See :meth:`ISessionStore.keep_ticket`."""
        if self.away is not None:
            return succeed(False)
        asked = self._link.command("SET", self._key("ticket:" + ticket_id), "1", "PX", _ms(ttl), "NX")
        return asked.addCallbacks(lambda answer: answer is not None, lambda why: bool(self._untold(why)))

    def take_ticket(self, ticket_id: str, kept: bool, ttl: float) -> Deferred[bool]:
        """See :meth:`ISessionStore.take_ticket`."""
        if ticket_id in self._used:
            return succeed(False)
        if self.away is not None:
            return succeed(self._take_here(ticket_id, kept, ttl))
        if kept:
            asked = self._link.command("GETDEL", self._key("ticket:" + ticket_id))
        else:
            asked = self._link.command("SET", self._key("used:" + ticket_id), "1", "PX", _ms(ttl), "NX")
        return asked.addCallbacks(
            lambda answer: answer is not None, self._not_asked, errbackArgs=(ticket_id, kept, ttl)
        )

    def _not_asked(self, failure: Any, ticket_id: str, kept: bool, ttl: float) -> bool:
        self._untold(failure)
        return ticket_id not in self._used and self._take_here(ticket_id, kept, ttl)

    def _take_here(self, ticket_id: str, kept: bool, ttl: float) -> bool:
        over = self._reactor.callLater(ttl, self._used.pop, ticket_id)
        self._used[ticket_id] = kept, ttl, over
        return True

    # --- names

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    def _session(self, session_id: str) -> bytes:
        return self._key("session:" + session_id)

    def _text(self, name: str) -> str:
        return self._key(name).decode()


def _parts(sessions: Mapping[str, Kept]) -> list[Mapping[str, Kept]]:
    """Not too many to a command: it holds up everybody who uses this Redis."""
    if len(sessions) <= _CHUNK:
        return [sessions]
    items = list(sessions.items())
    return [dict(items[at : at + _CHUNK]) for at in range(0, len(items), _CHUNK)]


def _known(answer: Any) -> Known:
    # A flat list of names and values.
    found = dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer
    views = {
        name.partition(b":")[2].decode(): view for name, view in found.items() if name.startswith(b"view:")
    }
    try:
        return Known(views, int(found.get(b"reserved", 0)))
    except ValueError:
        return Known({})


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
