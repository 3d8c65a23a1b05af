"""``kafka:`` puts each batch into a topic in one transaction, with its sessions beside it.

Only :mod:`logui_tx.sinks.kafka_link` knows the driver, which blocks: it lives in a thread of the sink's own.

**Once in effect.** Before a batch is written for the first time, the ends of the topic's partitions are noted
(:meth:`KafkaSink.prepare`) and saved by the delivery. Whenever nobody knows how far a batch got, after a
crash or an answer that did not come, a new producer takes over the transactional id: the brokers then take
nothing more of the old one, and end its transaction. Then the topic is read from the noted ends on, and what
is found of the batch is not sent again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from logui_tx.errors import RecordsRefused
from logui_tx.interfaces import ISink
from logui_tx.model import Record, SinkBatch, SinkURI
from logui_tx.records import record_json, session_json
from logui_tx.sinks.kafka_link import Ends, KafkaLink, Message
from logui_tx.sinks.kafka_settings import read_settings
from logui_tx.threads import daemon_pool

LONGEST_CLOSING = 2.0

_T = TypeVar("_T")


@implementer(ISink)
class KafkaSink:
    """See :class:`ISink`."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        self._settings = read_settings(uri)
        self._reactor = reactor
        self._pool = daemon_pool("kafka", 1)
        self._link = KafkaLink(self._settings)
        # Where the batch that was prepared last may begin, and whether any of it may be there.
        self._ends: Ends | None = None
        self._doubt = False
        self._written = ""
        self._closed = False

    def open(self, state: bytes) -> Deferred[None]:
        """Asks nobody yet: what is not well comes to light with the first batch."""
        if not self._pool.started:
            self._pool.start()
        self._ends = _read(state)
        self._doubt = self._ends is not None
        return succeed(None)

    def prepare(self, batch: SinkBatch) -> Deferred[bytes]:
        """Notes where the topic ends; while there is doubt about a batch, where it ended before that one."""

        def prepare() -> bytes:
            # Offered again although it was written: that could not be saved.
            self._doubt = self._doubt or batch.id == self._written
            if not self._doubt or self._ends is None:
                self._ends = self._link.ends()
            return _written(self._ends)

        return self._ask(prepare)

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        """See :meth:`ISink.write`."""

        def write() -> bytes:
            ends = self._ends or {}
            messages = self._messages(batch)
            self._link.take_over(batch.journal_id)
            if self._doubt:
                there = self._link.find(ends, {record.record_id for record in batch.records})
                messages = [one for one in messages if one.record_id not in there]
            self._doubt = True
            self._link.send(messages)
            self._doubt, self._written = False, batch.id
            # Where this batch began, not where it ended: then a batch of whose preparation nothing was
            # saved (a dead letter's) is looked for too.
            return _written(ends)

        return self._ask(write)

    def close(self) -> Deferred[None]:
        """What is going on is given up within a moment."""
        if self._closed or not self._pool.started:
            self._closed = True
            return succeed(None)
        self._closed = True
        self._link.give_up()
        closing: Deferred[None] = deferToThreadPool(self._reactor, self._pool, self._link.close)
        closing.addCallback(lambda _: self._pool.stop())
        # What asks brokers for topics cannot be given up: then the thread ends with the process.
        return closing.addTimeout(LONGEST_CLOSING, self._reactor, lambda _result, _seconds: None)

    def _messages(self, batch: SinkBatch) -> list[Message]:
        """Raises :class:`RecordsRefused` for one that is too large, before any is sent."""
        messages = [_of_record(self._settings.topic, record) for record in batch.records]
        if self._settings.sessions_topic is not None:
            messages += [
                Message(self._settings.sessions_topic, one.id.encode(), session_json(one))
                for one in batch.sessions
            ]
        most = self._settings.max_message
        for one in messages:
            if one.size > most:
                what = f"record {one.record_id}" if one.record_id else f"session {one.key.decode()}"
                raise RecordsRefused(f"{what} makes a message of {one.size} bytes; max-message is {most}")
        return messages

    def _ask(self, ask: Callable[[], _T]) -> Deferred[_T]:
        asked: Deferred[_T] = deferToThreadPool(self._reactor, self._pool, ask)
        return asked


def _of_record(topic: str, record: Record) -> Message:
    headers = [
        ("recordID", record.record_id.encode()),
        ("applicationID", record.application_id.encode()),
        ("flightID", record.flight_id.encode()),
        ("dialect", record.dialect.encode()),
    ]
    return Message(topic, record.session_id.encode(), record_json(record), headers, record.record_id)


def _read(state: bytes) -> Ends | None:
    return {int(partition): int(end) for partition, end in json.loads(state).items()} if state else None


def _written(ends: Ends) -> bytes:
    return json.dumps(ends).encode()
