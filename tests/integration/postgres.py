"""A PostgreSQL of the test's own: initialised, started on a free loopback port, stopped and removed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.frozen import freeze, thaw

USER, PASSWORD = "logui", "hunter2-geheim"

# PostgreSQL does not run as root.
AS_USER = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
# Nothing of this needs to survive a power failure.
QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "8MB",
    "max_connections": "60",
}


def binary(name: str) -> str:
    """The newest one's path; Debian keeps it out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else name


class PostgreSQL:
    """Runs from :meth:`start` to :meth:`stop`, which may alternate; the port and the data stay."""

    def __init__(self, **settings: str) -> None:
        """``settings`` are of its configuration, besides :data:`QUICK`."""
        self._settings = {**QUICK, **settings}
        self._folder = TemporaryDirectory()
        self._place = Path(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        if AS_USER:
            os.chown(self._place, *_ids())
        secret = self._place / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            *("initdb", f"--pgdata={self._data}", f"--username={USER}", f"--pwfile={secret}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        )

    @property
    def _data(self) -> Path:
        return self._place / "data"

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._place),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = (self._place / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [binary("postgres"), "-D", str(self._data), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._place,
                **AS_USER,  # type: ignore[call-overload]
            )
        while True:
            try:
                psycopg.connect(self.uri("postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    raise AssertionError((self._place / "log").read_text()) from None
            else:
                return

    def stop(self) -> None:
        """At once, as if the machine went away; does nothing where it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """Every process of it with -9."""
        if self._process is not None:
            for process in reversed(self._freeze()):
                os.kill(process, signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections, takes new ones, and answers nobody."""
        processes = self._freeze()
        try:
            yield
        finally:
            thaw(*processes)

    def remove(self) -> None:
        self.stop()
        self._folder.cleanup()

    def uri(
        self, database: str, user: str = USER, password: str = PASSWORD, scheme: str = "postgresql"
    ) -> str:
        return f"{scheme}://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run each outside of a transaction."""
        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def new_database(self, more: str = "") -> str:
        """The URI of an empty database."""
        name = f"t{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} {more}")
        return self.uri(name)

    def _freeze(self) -> list[int]:
        """All its processes; the one that makes the others first."""
        assert self._process is not None
        first = self._process.pid
        freeze(first)
        others = [int(one) for one in Path(f"/proc/{first}/task/{first}/children").read_text().split()]
        freeze(*others)
        return [first, *others]

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [binary(name), *arguments], capture_output=True, text=True, cwd=self._place, **AS_USER
        )
        assert done.returncode == 0, done.stderr


class PostgreSQLTestCase(SynchronousTestCase):
    """``self.postgresql`` runs while the class's tests do; ``self.new_database()`` is a fresh URI."""

    postgresql: PostgreSQL

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.postgresql = PostgreSQL()
        cls.addClassCleanup(cls.postgresql.remove)
        cls.postgresql.start()

    def new_database(self) -> str:
        return self.postgresql.new_database()


def _ids() -> tuple[int, int]:
    import grp
    import pwd

    return pwd.getpwnam(AS_USER["user"]).pw_uid, grp.getgrnam(AS_USER["group"]).gr_gid
