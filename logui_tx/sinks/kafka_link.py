"""The wire to Kafka: one producer at a time, with a transaction a batch. Everything here blocks.

A producer with which anything went wrong is dropped: the next one's first request ends its transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import field, frozen
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from logui_tx.errors import SinkAway
from logui_tx.sinks.kafka_errors import explained
from logui_tx.sinks.kafka_settings import KafkaSettings

Ends = dict[int, int]
"""Where each partition of the topic ends: the offset of what comes next."""

SLICE = 0.25
"""Seconds after which what waits looks whether it is to give up."""


@frozen
class Message:
    """``record_id`` is None for a session's."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]] = field(factory=list)
    record_id: str | None = None

    @property
    def size(self) -> int:
        """In bytes, as the brokers count at most."""
        headers = sum(len(name) + len(value) + 10 for name, value in self.headers)
        return len(self.key) + len(self.value) + headers + 70


class KafkaLink:
    """All but :meth:`give_up` is called in one thread. Raises :class:`SinkAway` if nothing else is said."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._producer: Producer | None = None
        self._journal_id = ""
        self._admin: AdminClient | None = None
        self.trouble = ""
        self._given_up = False

    def give_up(self) -> None:
        """From another thread: what waits fails soon."""
        self._given_up = True

    def close(self) -> None:
        """Let go of everything; what comes next begins anew."""
        if self._producer is not None:
            # What it has not sent yet must not be sent later.
            self._producer.purge()
        self._producer = self._admin = None

    # --- what the topic holds

    def ends(self) -> Ends:
        """Behind all that any producer has written, be it committed or not."""
        topic = self.settings.topic
        with _translated(self):
            if self._admin is None:
                self._admin = AdminClient({**self.settings.client, "error_cb": self._note})
            self._admin.poll(0)
            found = self._admin.list_topics(topic, timeout=self.settings.timeout).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in found.partitions}
            answers = self._admin.list_offsets(
                asked,
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=self.settings.timeout,
            )
            return {place.partition: answer.result().offset for place, answer in answers.items()}

    def find(self, begin: Ends, record_ids: set[str]) -> set[str]:
        """Which of these records stand, committed, behind ``begin``; a partition without one is new."""
        ends = self.ends()
        places = [
            TopicPartition(self.settings.topic, partition, begin.get(partition, 0))
            for partition, end in ends.items()
            if begin.get(partition, 0) < end
        ]
        if not places or not record_ids:
            return set()
        consumer = Consumer(
            {
                **self.settings.client,
                "error_cb": self._note,
                "group.id": self.settings.transactional_id,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                # There is all that will be, and it is waited for.
                "fetch.wait.max.ms": 10,
            }
        )
        try:
            with _translated(self):
                consumer.assign(places)
                return self._read(consumer, {place.partition for place in places}, ends, record_ids)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, reading: set[int], ends: Ends, wanted: set[str]) -> set[str]:
        """Until each partition was read to its end; what others have not committed yet holds it up."""
        found: set[str] = set()
        deadline = self._deadline()
        while reading:
            message = consumer.poll(SLICE)
            if message is None:
                self._check(deadline)
                continue
            error = message.error()
            if error is None:
                deadline = self._deadline()
                headers = dict(message.headers() or ())
                record_id = (headers.get("recordID") or b"").decode(errors="replace")
                found |= {record_id} & wanted
            elif error.code() == KafkaError._PARTITION_EOF:
                if message.offset() >= ends[message.partition()]:
                    reading.discard(message.partition())
            else:
                raise KafkaException(error)
        return found

    # --- writing

    def take_over(self, journal_id: str) -> None:
        """Be the journal's only producer: from now on the brokers take nothing of any other."""
        if self._producer is not None:
            if self._journal_id == journal_id:
                return
            self.close()
        settings = self.settings
        producer = Producer(
            {
                **settings.client,
                **settings.producer,
                "error_cb": self._note,
                "transactional.id": "-".join(
                    [settings.transactional_id, settings.topic, journal_id, settings.identity]
                ),
            }
        )
        self._producer, self._journal_id = producer, journal_id
        with _translated(self):
            self._until_done(producer.init_transactions)

    def send(self, messages: Sequence[Message]) -> None:
        """All in one transaction, or none. Raises :class:`RecordsRefused` too."""
        producer = self._producer
        assert producer is not None
        if not messages:
            return
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        with _translated(self):
            producer.begin_transaction()
            for one in messages:
                self._produce(producer, one, delivered)
            deadline = self._deadline()
            while producer.flush(SLICE) and not failed:
                self._check(deadline)
            if failed:
                raise KafkaException(failed[0])
            self._until_done(producer.commit_transaction)
        self.trouble = ""

    def _produce(self, producer: Producer, one: Message, delivered: Callable[..., None]) -> None:
        deadline = self._deadline()
        while True:
            try:
                producer.produce(
                    one.topic, one.value, one.key, headers=list(one.headers), on_delivery=delivered
                )
            except BufferError:
                # As much as librdkafka holds at once is on its way.
                producer.poll(SLICE)
                self._check(deadline)
            else:
                producer.poll(0)
                return

    def _until_done(self, ask: Callable[[float], None]) -> None:
        """Asks again what did not come to an end, as librdkafka wants it, but not for ever."""
        deadline = self._deadline()
        while True:
            try:
                ask(SLICE)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
            self._check(deadline)

    # --- time and trouble

    def _deadline(self) -> float:
        return time.monotonic() + self.settings.timeout

    def _check(self, deadline: float) -> None:
        if self._given_up:
            raise SinkAway("the sink was closed")
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def _note(self, error: KafkaError) -> None:
        self.trouble = error.str()


@contextmanager
def _translated(link: KafkaLink) -> Iterator[None]:
    """Errors of the driver's become ours. Whatever went wrong, the link is closed."""
    try:
        yield
    except BaseException as error:
        link.close()
        # When another producer has taken over, the driver raises in the midst of a callback.
        cause = error.__cause__ if isinstance(error, SystemError) else error
        if isinstance(cause, KafkaException):
            raise explained(cause.args[0], link.settings, link.trouble) from None
        raise
