"""A released LogUI server as it leaves its data behind: a filled PostgreSQL and download files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

DATA = Path(__file__).parent / "data"
RECORDED = DATA / "logui-0.5"
T = 1_700_000_000_000
"""A time in the past, in UNIX ms."""


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def stamp(milliseconds: int) -> str:
    """As a browser writes it."""
    return moment(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ReleasedServer:
    """Its database behind ``uri``; ``schema`` is ``newest`` or ``older``."""

    def __init__(self, uri: str, schema: str = "newest") -> None:
        self.uri = uri
        self.execute((DATA / "logui-server" / f"{schema}.sql").read_text(encoding="utf-8"))
        self.insert(
            "auth_user",
            id=1,
            password="pbkdf2_sha256$216000$geheim",
            is_superuser=True,
            username="admin",
            first_name="",
            last_name="",
            email="",
            is_staff=True,
            is_active=True,
            date_joined=moment(T),
        )
        self.older = schema == "older"

    def execute(self, statements: str, values: Sequence[Any] | None = None) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(statements, values)  # type: ignore[call-overload]

    def insert(self, table: str, **row: Any) -> None:
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(["%s"] * len(row))
        self.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))

    def application(self, name: str, at: int = T) -> str:
        made = uuid4()
        more = {"is_active": True} if self.older else {}
        self.insert(
            "control_application",
            id=made,
            name=name,
            creation_timestamp=moment(at),
            created_by_id=1,
            **more,
        )
        return str(made)

    def flight(
        self, application: str, name: str, fqdn: str = "www.example.org", active: bool = True, at: int = T
    ) -> str:
        made = uuid4()
        self.insert(
            "control_flight",
            id=made,
            name=name,
            is_active=active,
            fqdn=fqdn,
            creation_timestamp=moment(at),
            application_id=UUID(application),
            created_by_id=1,
        )
        return str(made)

    def session(
        self,
        flight: str,
        start: int = T,
        end: int | None = None,
        offset: int = 0,
        made: str | None = None,
        agent: str = "Agent",
    ) -> str:
        """``start`` and ``end`` by its clock in ms; the client's is ``offset`` ms ahead."""
        made = made or str(uuid4())
        row: dict[str, Any] = {"id": UUID(made), "ip_address": "192.0.2.1", "flight_id": UUID(flight)}
        if self.older:
            row |= {
                "is_active": end is None,
                "user_agent": agent,
                "browser": "Firefox",
                "os": "Linux",
                "device": "",
                "start_timestamp": moment(start),
                "end_timestamp": None if end is None else moment(end),
            }
        else:
            row |= {
                "ua_string": agent,
                "client_start_timestamp": moment(start + offset),
                "client_end_timestamp": None if end is None else moment(end + offset),
                "server_start_timestamp": moment(start),
                "server_end_timestamp": None if end is None else moment(end),
            }
        self.insert("control_session", **row)
        return made


def logged(application: str | None, flight: str, session: str | None, n: int, **more: Any) -> dict[str, Any]:
    """The ``n``-th event of a session, ``n`` seconds after :data:`T`, as the released server kept it."""
    return {
        "eventType": "customEvent",
        "eventDetails": {"n": n},
        "sessionID": session,
        "timestamps": {"eventTimestamp": stamp(T + 1000 * n), "sinceSessionStartMillis": n},
        "applicationSpecificData": {},
        **more,
        "applicationID": application,
        "flightID": flight,
    }


def download(entries: Iterable[Any]) -> str:
    """What its download writes."""
    return "[\n\n" + ",\n\n".join(map(json.dumps, entries)) + "\n\n]"


def recorded(application: str, flight: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The items of all recorded conversations as it kept them; its sessions, with their starts in ms."""
    entries: list[dict[str, Any]] = []
    sessions: dict[str, int] = {}
    for path in sorted(RECORDED.glob("*.jsonl")):
        for line in path.open(encoding="utf-8"):
            frame = json.loads(line)
            if frame["dir"] == "meta":
                continue
            told = json.loads(frame["text"])
            payload = told["payload"]
            if frame["dir"] == "out":
                sessions.setdefault(payload["sessionID"], round(frame["t"] * 1000))
            elif told["type"] == "logEvents":
                entries += [
                    {**item, "applicationID": application, "flightID": flight} for item in payload["items"]
                ]
    return entries, sessions
