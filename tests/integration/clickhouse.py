"""ClickHouse for a test: a stand-in by default, or a real one that is named.

Debian's ClickHouse (18.16) is older than deduplication tokens, and what the package index has
is several hundred megabytes. So the tests run over a stand-in that says what the real one says
(:mod:`tests.integration.clickhouse_server`), in a process of its own that can be killed.
``LOGUI_TEST_CLICKHOUSE=clickhouse://user:password@host:8123`` runs the contract over a real server instead,
in tables of its own in the database ``default``.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

from tests.integration.frozen import freeze, thaw
from tests.integration.redis import free_port

USER, PASSWORD = "logui", "hunter2-geheim"
REAL = os.environ.get("LOGUI_TEST_CLICKHOUSE")
PATIENCE = 20.0


class ClickHouse:
    """``uri`` names a table that is not there yet. :meth:`kill` and :meth:`start` keep port and data."""

    def __init__(self, real: str | None = None, certificate: Path | None = None) -> None:
        self._certificate = certificate
        self._folder = TemporaryDirectory()
        self._process: subprocess.Popen[bytes] | None = None
        place = urlsplit(real or f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{free_port()}")
        self.port = place.port or 8123
        self.table = f"t{uuid4().hex}"
        self.uri = f"{place.geturl().rstrip('/')}/default.{self.table}"
        self._url = f"{'https' if certificate else 'http'}://{place.hostname}:{self.port}/"
        if certificate:
            self.uri = self.uri.replace("clickhouse://", "clickhouses://").replace("127.0.0.1", "localhost")
        self._headers = {
            "X-ClickHouse-User": place.username or "default",
            "X-ClickHouse-Key": place.password or "",
        }
        self.real = real is not None
        if not self.real:
            self.start()

    def start(self) -> None:
        """Returns when it answers."""
        arguments = [str(self.port), str(Path(self._folder.name) / "data"), USER, PASSWORD]
        arguments += [str(self._certificate)] if self._certificate else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.clickhouse_server", *arguments],
            cwd=Path(__file__).parents[2],
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("DESCRIBE TABLE `default`.`none` FORMAT TabSeparated")
            except HTTPError:
                return
            except OSError:
                assert time.monotonic() < deadline, "the stand-in for ClickHouse does not start"

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It takes connections, and answers nobody, until :meth:`thaw`."""
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        thaw(self._process.pid)

    def close(self) -> None:
        if self.real:
            for table in (self.table, f"{self.table}_sessions"):
                self.ask(f"DROP TABLE IF EXISTS `default`.`{table}`")
        self.kill()
        self._folder.cleanup()

    def ask(self, query: str, path: str = "") -> bytes:
        """What it answers; raises HTTPError."""
        url = f"{self._url}{path}" if path else f"{self._url}?query={quote(query)}"
        trusting = ssl.create_default_context(cafile=self._certificate) if self._certificate else None
        if trusting:
            trusting.check_hostname = False
        with urlopen(Request(url, b"", self._headers), timeout=PATIENCE, context=trusting) as answer:
            found: bytes = answer.read()
            return found

    def fail(self, code: int, times: int = 1, status: int = 500) -> None:
        """The stand-in's next statements fail with this error of ClickHouse's, 0 for none of its own."""
        self.ask("", f"fail?code={code}&times={times}&status={status}")

    def events(self) -> list[dict[str, Any]]:
        """All rows, also those that a merge would drop, each session in its order."""
        return self._rows(f"`default`.`{self.table}` ORDER BY session_id, seq")

    def sessions(self) -> list[dict[str, Any]]:
        return self._rows(f"`default`.`{self.table}_sessions` FINAL")

    def _rows(self, table: str) -> list[dict[str, Any]]:
        answer = self.ask(f"SELECT * FROM {table} FORMAT JSONEachRow")
        return [json.loads(line) for line in answer.splitlines()]
