"""Opening the registry's database, and bringing its tables up to date."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from logui_tx.errors import BadOption, DatabaseUnusable
from logui_tx.registry import migrations
from logui_tx.registry.postgresql import KINDS, lock_migration, open_postgresql
from logui_tx.registry.sqlite import FILE_NAME, READ_ONLY, open_sqlite, sqlite_path

_SUPPORTED = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE is expected"


def open_engine(uri: str | None, data_dir: Path) -> Engine:
    """The engine for a database URI; None means ``registry.sqlite`` in the data folder.

    Raises :class:`BadOption` for a URI that is not supported (its text never holds the URI, which may bear a
    password) and :class:`DataFolderUnusable` where the file cannot be made.
    """
    if uri is None:
        return open_sqlite(data_dir / FILE_NAME)
    url = read_uri(uri)
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return open_sqlite(sqlite_path(url))
    if url.drivername in KINDS:
        return open_postgresql(url)
    raise BadOption(f"a database of the kind {url.drivername!a} cannot be used; {_SUPPORTED}")


def read_uri(uri: str) -> URL:
    """The URI's parts. Raises :class:`BadOption`; its text never holds the URI, which may bear a password."""
    # SQLAlchemy would take what follows the first for the host, and show it in errors.
    if uri.count("@") > 1:
        raise BadOption("an @ in the database URI's user, password or parameters must be written %40")
    try:
        return make_url(uri)
    except (ArgumentError, ValueError):
        raise BadOption(f"the database URI cannot be read; {_SUPPORTED}") from None


def migrate(engine: Engine) -> None:
    """Brings the tables to this version's form; quick when they are. Idempotent, safe in many processes.

    Raises :class:`DatabaseUnusable` for a database that does not answer, that a newer version wrote or that
    is none.
    """
    try:
        with engine.connect().execution_options(**{READ_ONLY: True}) as connection:
            if _revision(connection) == migrations.HEAD:
                return
        # On SQLite this waits for the write lock, so another process is either done or comes after us.
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                lock_migration(connection)
            _upgrade(connection)
    except DBAPIError as error:
        raise DatabaseUnusable(
            f"the registry {_shown(engine.url)} cannot be used: {reason(error)}"
        ) from error


def reason(error: DBAPIError) -> str:
    """What the database says of a failure, on one line and without the statement."""
    diagnosis = getattr(error.orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error.orig)
    return " ".join(said.split())


def _shown(url: URL) -> str:
    """The file's path, or the database's name; neither user nor password."""
    return f"{url.database}" if url.drivername == "sqlite" else f"in the database {url.database or ''!a}"


def _revision(connection: Connection) -> str | None:
    """The database's revision, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection, to: str = "head") -> None:
    # Imported here: Alembic takes longer to import than everything else a command does.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    revision = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise DatabaseUnusable(
            f"the registry {_shown(connection.engine.url)} was written by a newer version of logui-tx "
            f"(its revision is {revision!a}, this version knows none after {migrations.HEAD!a})"
        )
    command.upgrade(config, to)
