"""What Kafka's errors mean for a batch: it is offered again, or never will be taken."""

from __future__ import annotations

from confluent_kafka import KafkaError

from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.sinks.kafka_settings import KafkaSettings

_REFUSED = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_MSG,
}
_TEXTS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "does not exist, and the brokers do not create it",
    KafkaError._UNKNOWN_TOPIC: "does not exist, and the brokers do not create it",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "is not allowed to this user (needed: Write, Read, Describe)",
}
_TIMED_OUT = {KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._MSG_TIMED_OUT}


def explained(error: KafkaError, settings: KafkaSettings, trouble: str) -> SinkAway | RecordsRefused:
    """What is told of a failure; ``trouble`` is what the connections were in last."""
    code = error.code()
    if code in _TEXTS:
        topics = " or ".join(filter(None, [settings.topic, settings.sessions_topic]))
        return SinkAway(f"the topic {topics} {_TEXTS[code]}")
    if code in _REFUSED:
        return RecordsRefused(f"the brokers refuse it: {error.str()}")
    if code in _TIMED_OUT:
        return SinkAway(f"no answer within {settings.timeout:g} s{': ' if trouble else ''}{trouble}")
    return SinkAway(error.str())
