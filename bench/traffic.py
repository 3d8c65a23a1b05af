"""What pages send: payloads of the three dialects, made from a seed.

A visitor of a page of search results moves the mouse, over results and off them, clicks, scrolls and types.
Each dialect tells the same in its own words, so that their figures can be compared; ten events are about
4 kB in LogUI, and 0.8 kB in DataKraken, which says less of each.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

Event = dict[str, Any]

START = 1_760_000_000_000
SEED = 20_261_122
SIZE = 6_000_000
"""About the most bytes of payloads that are made; they are sent again and again."""
MOST, FEWEST = 1000, 40

_WORDS = ("archive", "bay", "coast", "delta", "éclair", "forest", "gate", "harbour", "island", "journey")
_WORDING = {
    "hover": ("mouseenter", "RESULT_HOVER"),
    "mouseclick": ("click", "RESULT_CLICK"),
    "scroll": ("scroll", "SCROLL"),
    "keyboard": ("keyup", "QUERY_KEY"),
}
_APP_DATA = {"userID": "user-26", "condition": 3, "rotation": 1}


class Visitor:
    """Yields what happens as (kind, time, details); kinds are those of DataKraken's listeners."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._now = START
        self._x, self._y = 640, 360
        self._scrolled = 0

    def __iter__(self) -> Iterator[tuple[str, int, Event]]:
        weights = {"mousemove": 58, "hover": 18, "scroll": 10, "mouseclick": 7, "keyboard": 7}
        while True:
            (kind,) = self._random.choices(list(weights), list(weights.values()))
            self._now += self._random.randint(16, 240)
            yield kind, self._now, getattr(self, f"_{kind}")()

    def _mousemove(self) -> Event:
        self._x = min(max(self._x + self._random.randint(-60, 60), 0), 1919)
        self._y = min(max(self._y + self._random.randint(-40, 40), 0), 1079)
        return {"x": self._x, "y": self._y}

    def _hover(self) -> Event:
        rank = self._random.randint(1, 20)
        return {**self._mousemove(), "target": f"#results > li:nth-child({rank}) > a.title", "rank": rank}

    def _mouseclick(self) -> Event:
        return self._hover()

    def _scroll(self) -> Event:
        self._scrolled = max(0, self._scrolled + self._random.randint(-200, 400))
        return {"x": 0, "y": self._scrolled, "target": "main > section.results"}

    def _keyboard(self) -> Event:
        return {"target": "input#query.search-box", "word": self._random.choice(_WORDS)}

    def document(self) -> str:
        return f"doc-{self._random.getrandbits(40):010x}"


@cache
def payloads(dialect: str, events: int, seed: int = SEED) -> list[bytes]:
    """Different messages of so many events each."""
    visitor = Visitor(seed)
    told, tell = iter(visitor), _TELL[dialect]
    made: list[bytes] = []
    size = 0
    while len(made) < FEWEST or (size < SIZE and len(made) < MOST):
        made.append(_text(_WRAP[dialect]([tell(visitor, *next(told)) for _ in range(events)])))
        size += len(made[-1])
    return made


def hello(dialect: str, token: str) -> bytes:
    """The first message of a connection."""
    if dialect == "logui-0.4":
        return _text(
            {
                "payloadType": "LogUIHandshake",
                "clientDateTime": START,
                "appIdentifier": token,
                "appSpecificLogData": _APP_DATA,
            }
        )
    if dialect == "logui-0.5":
        shake = {
            "clientVersion": "0.5.4a",
            "authorisationToken": token,
            "pageOrigin": "http://127.0.0.1",
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) bench",
            "clientTimestamp": _iso(START),
        }
        return _text({"sender": "logUIClient", "type": "handshake", "payload": shake})
    return _text({"type": "start"})


def _logui(visitor: Visitor, kind: str, now: int, details: Event) -> Event:
    """What both LogUI dialects say of an event."""
    where = {"clientX": details.get("x", 0), "clientY": details.get("y", 0)}
    timestamps = {"sinceSessionStartMillis": now - START, "sinceLogUILoadMillis": now - START - 210}
    if kind == "mousemove":
        page = {"screenX": where["clientX"] + 8, "screenY": where["clientY"] + 97}
        on_page = {"pageX": where["clientX"], "pageY": where["clientY"], "pageHadFocus": True}
        kinds = {"type": "cursorTracking", "trackingType": "positionUpdate"}
        return {
            "eventType": "browserEvent",
            "eventDetails": {**where, **page, **on_page, **kinds},
            "timestamps": timestamps,
        }
    event, name = _WORDING[kind]
    more = {key: value for key, value in details.items() if key not in ("x", "y")}
    metadata = [{"name": "rank", "value": str(details.get("rank", 0))}]
    if kind in ("hover", "mouseclick"):
        metadata.append({"name": "document", "value": visitor.document()})
    return {
        "eventType": "interactionEvent",
        "eventDetails": {"type": event, "name": name, **more, **where},
        "timestamps": timestamps,
        "metadata": metadata,
    }


def _logui04(visitor: Visitor, kind: str, now: int, details: Event) -> Event:
    page = {"page": "/search?q=harbour+lantern+journey&page=2&sort=relevance"}
    return {"clientDateTime": now, **_logui(visitor, kind, now, details), **page}


def _logui05(visitor: Visitor, kind: str, now: int, details: Event) -> Event:
    event = _logui(visitor, kind, now, details)
    timestamps = {"eventTimestamp": _iso(now), **event["timestamps"]}
    session = {"sessionID": "5cdfc67b-52a7-4c14-b743-a2f999ba546e", "applicationSpecificData": _APP_DATA}
    return {**event, **session, "timestamps": timestamps}


_KRAKEN = {"mouseclick": 0, "mousemove": 1, "hover": 1, "scroll": 2, "keyboard": 3}


def _kraken(_visitor: Visitor, kind: str, now: int, details: Event) -> Event:
    event = {{"x": "X", "y": "Y"}.get(name, name): value for name, value in details.items()}
    return {"type": _KRAKEN[kind], "timestamp": now, "event": event}


_TELL: dict[str, Callable[[Visitor, str, int, Event], Event]] = {
    "logui-0.4": _logui04,
    "logui-0.5": _logui05,
    "kraken": _kraken,
}
_WRAP: dict[str, Callable[[list[Event]], Any]] = {
    "logui-0.4": lambda events: {"payloadType": "LogUIEventPayload", "eventsToBeLogged": events},
    "logui-0.5": lambda events: {
        "sender": "logUIClient",
        "type": "logEvents",
        "payload": {"length": len(events), "items": events},
    },
    "kraken": lambda events: events,
}


def _iso(now: int) -> str:
    return datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
