"""What the URI of a ``kafka:`` sink says, as librdkafka wants it told."""

from __future__ import annotations

import logging
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import field, frozen
from confluent_kafka import KafkaException, Producer
from twisted.logger import Logger, LogLevel

from logui_tx.errors import BadOption
from logui_tx.model import SinkURI

log = Logger()

OURS = {
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "compression.codec",
    "compression.type",
    "default.topic.config",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "logger",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "transaction.timeout.ms",
    "transactional.id",
}
"""What ``setting=`` must not change, under each of its names: parameters say it, or what was promised rests
on it."""

LONGEST_TIMEOUT = 300
LARGEST_MESSAGE = 1_000_000_000
"""As librdkafka has it; in bytes."""

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]]+)(?::(\d{1,9}))?", re.ASCII)
_LEVELS = [(logging.ERROR, LogLevel.error), (logging.WARNING, LogLevel.warn), (logging.INFO, LogLevel.info)]


@frozen
class KafkaSettings:
    """``timeout`` is in seconds, ``max_message`` in bytes; ``client`` and ``producer`` are librdkafka's.

    ``identity`` tells the sink from others of the same server's, which may write to the same topic.
    """

    topic: str
    sessions_topic: str | None
    timeout: float
    max_message: int
    transactional_id: str
    identity: str
    client: dict[str, Any] = field(repr=False)
    producer: dict[str, Any] = field(repr=False)


def read_settings(uri: SinkURI) -> KafkaSettings:
    """Raises :class:`BadOption`."""
    given = uri.parameters
    topic = uri.path.strip("/")
    sessions: str | None = given["sessions-topic"] or f"{topic}-sessions"
    for one in uri.host.split(","):
        broker = _BROKER.fullmatch(one)
        if broker is None:
            raise BadOption("sink: kafka: brokers are written kafka://host:9092,host2:9092/topic")
        if broker[2] is not None and not 0 < int(broker[2]) < 65536:
            raise BadOption("sink: kafka: a port is a number from 1 to 65535")
    for name in (topic, sessions):
        if not _TOPIC.fullmatch(name or "") or name in (".", ".."):
            raise BadOption(
                "sink: kafka: a topic is expected, kafka://host:9092/topic: letters, digits, . _ and -"
            )
    if sessions == topic:
        raise BadOption("sink: kafka: the sessions need a topic of their own; sessions-topic=none for none")
    if given["timeout"] > LONGEST_TIMEOUT:
        raise BadOption(f"sink: kafka: timeout: at most {LONGEST_TIMEOUT} s are expected")
    if given["max-message"] > LARGEST_MESSAGE:
        raise BadOption(f"sink: kafka: max-message: at most {LARGEST_MESSAGE} are expected")
    settings = KafkaSettings(
        topic,
        None if sessions == "none" else sessions,
        given["timeout"],
        given["max-message"],
        given["transactional-id"],
        sha256(uri.name.encode()).hexdigest()[:16],
        {**_client(uri), **_given(given["setting"])},
        _producer(uri),
    )
    _try(settings)
    return settings


def _client(uri: SinkURI) -> dict[str, Any]:
    given = uri.parameters
    security = given["security"] or ("plaintext" if uri.user is None else "sasl_ssl")
    client: dict[str, Any] = {
        "bootstrap.servers": uri.host,
        "client.id": "logui-tx",
        "security.protocol": security,
        "socket.timeout.ms": int(given["timeout"] * 1000),
        # The delivery has its own back-off: what it tries is tried.
        "reconnect.backoff.max.ms": 1000,
        "logger": _Logs(),
    }
    if security.startswith("sasl"):
        if uri.user is None or uri.password is None:
            raise BadOption(f"sink: kafka: {security} needs kafka://user:password@host:9092/topic")
        client |= {
            "sasl.mechanism": given["mechanism"],
            "sasl.username": uri.user,
            "sasl.password": uri.password,
        }
    elif uri.user is not None:
        raise BadOption(f"sink: kafka: {security} takes no user; sasl_ssl or sasl_plaintext does")
    if given["ca"] is not None:
        try:
            Path(given["ca"]).read_bytes()
        except OSError as error:
            raise BadOption(f"sink: kafka: ca: {error}") from None
        client["ssl.ca.location"] = given["ca"]
    return client


def _producer(uri: SinkURI) -> dict[str, Any]:
    given = uri.parameters
    timeout = int(given["timeout"] * 1000)
    return {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "compression.type": given["compression"],
        "message.max.bytes": given["max-message"],
        "message.timeout.ms": timeout,
        # Longer than anything that is done within one, and not longer than brokers allow.
        "transaction.timeout.ms": max(10_000, 3 * timeout),
    }


def _given(settings: list[str]) -> dict[str, str]:
    found = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not value:
            raise BadOption("sink: kafka: a setting is written setting=name=value")
        # librdkafka knows a topic's also with this before it.
        if name.removeprefix("topic.") in OURS:
            raise BadOption(f"sink: kafka: the setting {name} is the sink's own")
        found[name] = value
    return found


def _try(settings: KafkaSettings) -> None:
    """Whether librdkafka takes them; nothing is connected to."""
    try:
        Producer({**settings.client, **settings.producer, "bootstrap.servers": "", "transactional.id": "try"})
    except (KafkaException, ValueError, TypeError) as error:
        why = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise BadOption(f"sink: kafka: {' '.join(why.split())}") from None


class _Logs(logging.Logger):
    """Where librdkafka logs to; otherwise it writes to stderr."""

    def __init__(self) -> None:
        super().__init__("kafka", logging.INFO)

    def handle(self, record: logging.LogRecord) -> None:
        """It is in trouble often and long: what an operator needs to know, the delivery says."""
        level = next((ours for theirs, ours in _LEVELS if record.levelno >= theirs), LogLevel.debug)
        if level is not LogLevel.error:
            level = LogLevel.debug
        log.emit(level, "librdkafka: {text}", text=record.getMessage())
