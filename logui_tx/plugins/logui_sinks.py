"""The sinks that come with logui-tx."""

from logui_tx.options import Parameter, duration, text
from logui_tx.sinks.maker import LazySinkMaker

blackhole = LazySinkMaker(
    schemes=("blackhole",),
    summary="takes everything and keeps nothing",
    form="blackhole:",
    factory="logui_tx.sinks.blackhole:Blackhole",
)

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
        Parameter("timeout", duration, "30s", "Longest time for a batch.", least=1),
        *(Parameter(name, text, None, "As libpq has it.") for name in _LIBPQ),
    ),
)
