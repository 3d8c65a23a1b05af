"""ClickHouse over HTTP: one statement a request, with errors as it tells them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from twisted.internet.defer import Deferred

from logui_tx.errors import BadOption
from logui_tx.model import SinkURI
from logui_tx.sinks.posting import Answer, Poster, checked_url

LONGEST_TEXT = 300
"""Characters of what ClickHouse says that are told."""

SETTINGS = {
    # An error is told by the answer's status, and 200 means that all of it is there.
    "wait_end_of_query": "1",
    "async_insert": "0",
    "insert_deduplicate": "1",
    # All rows of a partition are one block: it is there, or it is not.
    "input_format_parallel_parsing": "0",
    "max_insert_block_size": "1048576",
    "min_insert_block_size_rows": "1048576",
    "min_insert_block_size_bytes": "0",
    # A batch's ids are looked for in one statement.
    "max_query_size": str(256 * 1024 * 1024),
}


@frozen
class ClickHouseError(Exception):
    """``code`` is ClickHouse's own, 0 where it said none."""

    status: int
    code: int
    text: str
    retry_after: float = 0.0


class ClickHouseHTTP:
    """``secure`` is by the URI's scheme; user and password are not in the URL: those end up in logs."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        """Raises :class:`BadOption`."""
        given = uri.parameters
        self._url = _url(uri)
        self._settings = {**SETTINGS, **_given(given["setting"])}
        self._headers = {"X-ClickHouse-User": uri.user or "default"}
        if uri.password is not None:
            self._headers["X-ClickHouse-Key"] = uri.password
        try:
            self._poster = Poster(reactor, timeout=given["timeout"], ca=given["ca"])
        except ValueError as error:
            raise BadOption(f"sink: clickhouse: ca: {error}") from None

    async def ask(
        self, statement: str, rows: bytes | None = None, gzipped: bool = False, **settings: str
    ) -> Answer:
        """What ClickHouse answers; ``rows`` are an INSERT's.

        Raises :class:`ClickHouseError`, and :class:`SinkAway` where there is no answer.
        """
        asked = {**self._settings, **settings}
        headers = dict(self._headers)
        body = statement.encode()
        if rows is not None:
            asked["query"], body = statement, rows
            if gzipped:
                headers["Content-Encoding"] = "gzip"
        answer = await self._poster.post(f"{self._url}?{urlencode(asked)}", headers, body)
        code = (answer.headers.getRawHeaders("X-ClickHouse-Exception-Code") or ["0"])[0]
        if answer.status == 200 and code == "0":
            return answer
        text = " ".join(answer.body.decode(errors="replace").split())[:LONGEST_TEXT]
        raise ClickHouseError(
            answer.status, int(code) if code.isdecimal() and len(code) < 9 else 0, text, answer.retry_after
        )

    def close(self) -> Deferred[None]:
        return self._poster.close()


def _url(uri: SinkURI) -> str:
    secure = uri.scheme == "clickhouses"
    # The one that a URL without a port means is not ClickHouse's.
    port = "" if re.search(r":[^\]]*$", uri.host) else ":8443" if secure else ":8123"
    try:
        return checked_url(f"{'https' if secure else 'http'}://{uri.host}{port}/")
    except ValueError as error:
        form = f"{uri.scheme}://host:8123/database.table would be one"
        raise BadOption(f"sink: clickhouse: {error}: {form}") from None


def _given(settings: Sequence[str]) -> dict[str, str]:
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.isidentifier():
            raise BadOption("sink: clickhouse: a setting is written setting=name=value")
        if name in SETTINGS or name in ("query", "user", "password", "insert_deduplication_token"):
            raise BadOption(f"sink: clickhouse: the setting {name} is the sink's own")
        found[name] = value
    return found
