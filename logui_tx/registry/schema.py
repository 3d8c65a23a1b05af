"""The registry's tables, in words that SQLite and PostgreSQL both understand.

Times are UNIX milliseconds, ``flight.sample_moves`` is in ms too; ids are UUID4 strings. Of JSON are
``flight.domains``, an array of entries as :mod:`logui_tx.registry.domains` writes them, ``flight.listeners``,
one of names, and ``flight.metadata``, an object. The defaults let a server of the version before, which still
runs beside this one, make flights. A change here needs a revision in ``migrations/versions``.
"""

from __future__ import annotations

import json

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, MetaData, Table, Text, UniqueConstraint, false

from logui_tx.model import LISTENERS

metadata = MetaData(
    # Names that every engine gives alike, so that a later revision can address a constraint.
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

application = Table(
    "application",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

flight = Table(
    "flight",
    metadata,
    Column("id", Text, primary_key=True),
    Column("application_id", Text, ForeignKey("application.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("domains", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("client_version", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("listeners", Text, nullable=False, server_default=json.dumps(LISTENERS)),
    Column("sample_moves", BigInteger, nullable=False, server_default="0"),
    Column("metadata", Text, nullable=False, server_default="{}"),
    Column("strict_sessions", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("application_id", "name"),
)
