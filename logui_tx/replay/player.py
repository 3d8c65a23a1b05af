"""Replays event streams against a LogUI 0.4 server and accounts exactly for what it acknowledged."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from logui_tx.errors import LoguiError
from logui_tx.replay.session import Event, Session

LONGEST_WAIT = 1.0
"""Seconds that an event waits for its batch to fill, where there is a speed."""
LONGEST_BACK_OFF = 5.0
"""Seconds."""


@frozen
class SessionAccount:
    """What became of one session; all counts are events, times UNIX ms.

    ``acknowledged_payloads`` is the highest payload id that was acknowledged: without a refusal (the ids in
    ``refused_payloads``) the first ``events_acknowledged`` events of the stream are on the server's disk.
    ``session_ids`` has more than one where the server could not resume. ``error`` is None when it left well.
    """

    session_ids: tuple[str, ...]
    events_sent: int
    events_acknowledged: int
    events_refused: int
    events_resent: int
    acknowledged_payloads: int
    refused_payloads: tuple[int, ...]
    reconnects: int
    started: int
    ended: int
    error: str | None


@frozen
class Account:
    """The sum over all sessions. Counts are events; ``resent`` counts an event each further time.

    ``p50_ms`` and ``p99_ms`` run from a payload's first sending to its acknowledgement, None without one.
    """

    sent: int
    acknowledged: int
    refused: int
    resent: int
    reconnects: int
    p50_ms: float | None
    p99_ms: float | None
    seconds: float
    events_per_second: float
    sessions: list[SessionAccount]

    @property
    def complete(self) -> bool:
        """Whether every session ended well and all that was sent was acknowledged."""
        return self.sent == self.acknowledged and all(session.error is None for session in self.sessions)


def batches(events: Iterable[Event], size: int, speed: float | None) -> Iterator[tuple[float, list[Event]]]:
    """Cut a stream into payloads, always alike; each with its due time in seconds after the first event.

    Without a speed payload k holds the events ``[(k-1)*size, k*size)``. With one, a payload also ends
    before the event that comes :data:`LONGEST_WAIT` after its first.
    """
    batch: list[Event] = []
    first: int | None = None
    opened = at = 0.0
    for event in events:
        if speed is not None:
            first = event["clientDateTime"] if first is None else first
            at = max(at, (event["clientDateTime"] - first) / 1000 / speed)  # clocks of clients may step back
            if batch and at - opened >= LONGEST_WAIT:
                yield opened + LONGEST_WAIT, batch
                batch = []
        if not batch:
            opened = at
        batch.append(event)
        if len(batch) == size:
            yield at, batch
            batch = []
    if batch:
        yield at, batch


class Replay:
    """Replays streams in parallel, each as a session of its own.

    ``sessions`` are iterables of LogUI 0.4 events, read as they are sent. ``speed`` 1.0 is real time by the
    events' ``clientDateTime``, None as fast as it goes. ``batch`` is events a payload, ``window`` payloads
    a session that may be unanswered. ``domain`` goes into the handshake, ``origin`` into the upgrade.
    ``timeout`` bounds, in seconds, each wait for the server; ``tries`` the attempts without any progress in
    between, with a back-off that doubles from ``back_off`` seconds to :data:`LONGEST_BACK_OFF`.
    ``on_progress`` gets the events sent and acknowledged so far. Raises ValueError for senseless numbers.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        token: str,
        sessions: Iterable[Iterable[Event]],
        *,
        speed: float | None,
        batch: int = 10,
        window: int = 32,
        origin: str | None = None,
        domain: str | None = None,
        instance: str | None = None,
        app_data: Mapping[str, Any] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        timeout: float = 30.0,
        tries: int = 12,
        back_off: float = 0.1,
    ) -> None:
        if batch < 1 or window < 1 or tries < 1 or timeout <= 0 or (speed is not None and speed <= 0):
            raise ValueError("batch, window, tries, timeout and speed must be positive")
        self.reactor = reactor
        self.url = url
        self.token = token
        self.speed = speed
        self.batch = batch
        self.window = window
        self.origin = origin
        self.domain = domain
        self.instance = instance
        self.app_data = dict(app_data or {})
        self.timeout = timeout
        self.tries = tries
        self.back_off = back_off
        self.reached = False
        self.latencies = array("d")
        self._streams = sessions
        self._on_progress = on_progress
        self._sent = self._acknowledged = 0

    def run(self) -> Deferred[Account]:
        """Fires with the account when every session has ended, well or not; never fails.

        Cancelling it ends every session where it is and fires with the account up to there.
        """
        began = self.reactor.seconds()
        sessions = [Deferred.fromCoroutine(self._play(stream)) for stream in self._streams]
        return gatherResults(sessions).addCallback(self._account, began)

    async def _play(self, stream: Iterable[Event]) -> SessionAccount:
        session = Session(self, batches(stream, self.batch, self.speed), self.instance or uuid4().hex)
        started = self.now_ms()
        error: str | None = None
        try:
            await session.play()
        except CancelledError:
            error = "stopped"
        except LoguiError as why:
            error = str(why)
        except Exception as why:  # noqa: BLE001 - whatever it was (the stream's own, too), it is accounted for
            error = f"{type(why).__name__}: {why}"
        return SessionAccount(
            session_ids=tuple(session.session_ids),
            events_sent=session.sent,
            events_acknowledged=session.acknowledged,
            events_refused=session.refused,
            events_resent=session.resent,
            acknowledged_payloads=session.highest,
            refused_payloads=tuple(session.refused_payloads),
            reconnects=max(0, session.connections - 1),
            started=started,
            ended=self.now_ms(),
            error=error,
        )

    def now_ms(self) -> int:
        """The reactor's time in ms; UNIX time on a real reactor."""
        return int(self.reactor.seconds() * 1000)

    def count(self, sent: int = 0, acknowledged: int = 0) -> None:
        """Note the progress of a session, in events."""
        self._sent += sent
        self._acknowledged += acknowledged
        if self._on_progress is not None:
            self._on_progress(self._sent, self._acknowledged)

    def pause_before_try(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; jittered, so that sessions do not come at once."""
        longest = min(LONGEST_BACK_OFF, self.back_off * 2.0 ** min(failures, 30))
        return random.uniform(longest / 2, longest)  # noqa: S311 - nothing secret

    def _account(self, sessions: list[SessionAccount], began: float) -> Account:
        seconds = self.reactor.seconds() - began
        acknowledged = sum(session.events_acknowledged for session in sessions)
        latencies = sorted(self.latencies)
        return Account(
            sent=sum(session.events_sent for session in sessions),
            acknowledged=acknowledged,
            refused=sum(session.events_refused for session in sessions),
            resent=sum(session.events_resent for session in sessions),
            reconnects=sum(session.reconnects for session in sessions),
            p50_ms=_percentile(latencies, 50),
            p99_ms=_percentile(latencies, 99),
            seconds=seconds,
            events_per_second=acknowledged / seconds if seconds > 0 else 0.0,
            sessions=sessions,
        )


def _percentile(ordered: list[float], percent: int) -> float | None:
    """The nearest rank, of seconds, in ms."""
    return ordered[-(-len(ordered) * percent // 100) - 1] * 1000 if ordered else None
