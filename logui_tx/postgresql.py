"""What every connection to PostgreSQL has in common: what its URI does not say gets defaults with which
nothing waits for ever, a connection that cannot be made, a statement that a lock holds up, a machine that
fell silent.
"""

from __future__ import annotations

from typing import Any

DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
    "client_encoding": "utf8",
    "fallback_application_name": "logui-tx",
}
"""libpq's parameters; times in seconds, but for tcp_user_timeout, which is in milliseconds."""


def server_options(timeout: float) -> str:
    """libpq's parameter ``options``, where a statement may take ``timeout`` seconds."""
    milliseconds = max(1, round(timeout * 1000))
    return (
        f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        " -c idle_in_transaction_session_timeout=30s"
    )


def wrong_encoding(connection: Any) -> str | None:
    """Why a database's encoding does not do: it must be one that holds every text."""
    encoding = connection.info.parameter_status("server_encoding")
    return None if encoding == "UTF8" else f"the encoding of its database must be UTF8, not {encoding}"
