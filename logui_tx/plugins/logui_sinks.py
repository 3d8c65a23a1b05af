"""The sinks that come with logui-tx."""

from logui_tx.options import Parameter, count, duration, size, text
from logui_tx.sinks.maker import LazySinkMaker
from logui_tx.sinks.uri import one_of, permissions, statuses

blackhole = LazySinkMaker(
    schemes=("blackhole",),
    summary="takes everything and keeps nothing",
    form="blackhole:",
    factory="logui_tx.sinks.blackhole:Blackhole",
)

jsonl = LazySinkMaker(
    schemes=("jsonl",),
    summary="files of lines of JSON, one per flight and day",
    form="jsonl:/var/log/logui?rotate=100MB&compress=zstd",
    factory="logui_tx.sinks.jsonl:JsonLines",
    parameters=(
        Parameter("rotate", size, "100MB", "Size from which on a file is finished.", least=1),
        Parameter("rotate-age", duration, None, "Age from which on a file is finished.", least=1),
        Parameter(
            "compress", one_of("none", "gzip", "zstd"), "none", "Of finished files: none, gzip or zstd."
        ),
        Parameter(
            "fsync", one_of("yes", "no"), "yes", "Whether what is written is to outlast a power failure."
        ),
        Parameter("mode", permissions, "0700", "Permissions of the folder; files have them without x."),
    ),
)

TEMPORARY = "408,425,429"
"""Who is asked, who asks, or when: nothing that is the fault of a record."""

http = LazySinkMaker(
    schemes=("http", "https"),
    summary="batches posted to a receiver, signed, each with a key of its own",
    form="https://collector.example.org/logui?format=ndjson&secret-file=/etc/logui/secret",
    factory="logui_tx.sinks.http:HTTPSink",
    parameters=(
        Parameter("format", one_of("ndjson", "json"), "ndjson", "Objects on lines, or in an array."),
        Parameter("compress", one_of("none", "gzip"), "none", "Of what is sent: none or gzip."),
        Parameter("sessions", one_of("yes", "no"), "yes", "Whether sessions are posted, too."),
        Parameter("secret-file", text, None, "File of the secret that signs what is sent."),
        Parameter("token-file", text, None, "File of a token, for Authorization: Bearer."),
        Parameter("query", text, None, "The receiver's own query: a%3D1 becomes ?a=1."),
        Parameter("temporary", statuses, TEMPORARY, "Statuses that do not refuse a batch for good."),
        Parameter("timeout", duration, "30s", "Longest time for a request and its answer.", least=0.1),
        Parameter("ca", text, None, "File (PEM) with the authorities to trust, not the system's."),
    ),
    extra="http",
)

security = one_of("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
mechanism = one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
compression = one_of("none", "gzip", "snappy", "lz4", "zstd")

kafka = LazySinkMaker(
    schemes=("kafka",),
    summary="a topic of Apache Kafka, keyed by session, by transactions",
    form="kafka://host:9092,host2:9092/topic",
    factory="logui_tx.sinks.kafka:KafkaSink",
    parameters=(
        Parameter("sessions-topic", text, None, "Of the sessions; TOPIC-sessions by default, none for none."),
        Parameter("security", security, None, "plaintext, ssl, sasl_plaintext or sasl_ssl."),
        Parameter("mechanism", mechanism, "PLAIN", "Of SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."),
        Parameter("ca", text, None, "File (PEM) with the authorities that sign for the brokers."),
        Parameter("compression", compression, "lz4", "none, gzip, snappy, lz4 or zstd."),
        Parameter("max-message", size, "1MB", "Largest message that the brokers take.", least=1000),
        Parameter("timeout", duration, "30s", "Longest time that the brokers may take to answer.", least=0.1),
        Parameter("transactional-id", text, "logui-tx", "How its transactional ids begin."),
        Parameter("setting", text, None, "Of librdkafka, name=value; may be repeated.", many=True),
    ),
    extra="kafka",
)

merge_tree = one_of("ReplacingMergeTree", "ReplicatedReplacingMergeTree")
yes_or_no = one_of("yes", "no")

clickhouse = LazySinkMaker(
    schemes=("clickhouse", "clickhouses"),
    summary="a table of ClickHouse, over HTTP (clickhouse:) or HTTPS (clickhouses:)",
    form="clickhouse://user:password@host:8123/database.table",
    factory="logui_tx.sinks.clickhouse:ClickHouseSink",
    parameters=(
        Parameter("sessions-table", text, None, "Of the sessions; TABLE_sessions by default, none for none."),
        Parameter(
            "engine", merge_tree, "ReplacingMergeTree", "Of new tables; or ReplicatedReplacingMergeTree."
        ),
        Parameter("gzip", yes_or_no, "yes", "Whether what is sent is compressed."),
        Parameter("ca", text, None, "File (PEM) with the authorities that sign for the server."),
        Parameter("timeout", duration, "30s", "Longest time that an answer may take.", least=0.1),
        Parameter("setting", text, None, "Of ClickHouse, name=value; may be repeated.", many=True),
    ),
    extra="clickhouse",
)

# What libpq reads by itself.
_LIBPQ = (
    "host",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "channel_binding",
    "gssencmode",
    "krbsrvname",
    "service",
    "passfile",
    "options",
    "application_name",
    "target_session_attrs",
    "connect_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)

postgresql = LazySinkMaker(
    schemes=("postgresql", "postgres"),
    summary="events and sessions in tables of a PostgreSQL database",
    form="postgresql://user:password@host/database?table=events",
    factory="logui_tx.sinks.postgresql:PostgreSQLSink",
    extra="postgresql",
    parameters=(
        Parameter("table", text, "logui_events", "Of the events, maybe with a schema before a dot."),
        Parameter("sessions", text, None, "Table of the sessions, in the same schema."),
        Parameter("batch", count, "5000", "Most records of a batch, and most sessions.", least=1),
        Parameter("batch-bytes", size, "4MiB", "About the most bytes of a batch, data included.", least=1),
        Parameter("connections", count, "2", "Over how many a large batch is copied at once.", least=1),
        Parameter("timeout", duration, "30s", "Longest time for a batch.", least=1),
        *(Parameter(name, text, None, "As libpq has it.") for name in _LIBPQ),
    ),
)

redis = LazySinkMaker(
    schemes=("redis", "rediss", "redis+unix"),
    summary="an entry of a Redis Stream for each event",
    form="redis://user:password@host:6379/0?stream=logui",
    factory="logui_tx.sinks.redis_stream:RedisStreamSink",
    extra="redis",
    parameters=(
        Parameter("stream", text, "logui", "How the names of all keys begin."),
        Parameter("maxlen", count, None, "About how many entries of a stream are kept.", least=1),
        Parameter("replicas", count, "0", "How many replicas must have a batch."),
        Parameter("lost", one_of("wait", "go-on"), "wait", "What to do when Redis has lost records."),
        Parameter("timeout", duration, "5s", "Longest time for a command.", least=0.01),
        Parameter("database", text, None, "With redis+unix: the number of the database."),
        Parameter("ca", text, None, "With rediss: whose certificates are trusted, a PEM file."),
        Parameter("cert", text, None, "With rediss: the client's certificate, a PEM file."),
        Parameter("key", text, None, "With rediss: its key, where the certificate's file has none."),
    ),
)
