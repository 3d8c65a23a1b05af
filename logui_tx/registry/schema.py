"""The registry's tables, in words that SQLite and PostgreSQL both understand.

Times are UNIX milliseconds; ids are UUID4 strings; ``flight.domains`` is a JSON array of entries as
:mod:`logui_tx.registry.domains` writes them. A change here needs a revision in ``migrations/versions``.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, MetaData, Table, Text, UniqueConstraint

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
    UniqueConstraint("application_id", "name"),
)
