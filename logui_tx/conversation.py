"""One connection, from its first word to its last; knows no transport and no dialect. See stages.py.

Messages are taken one at a time in their order; while the handshake or a farewell waits, they wait in the
inbox. Answers leave in the order of the messages, each when its events are durable; of cumulative ones in a
row that become known in one turn, the last.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from logui_tx.answer import Answer
from logui_tx.errors import BadRequest, HandshakeRefused, LoguiError, NotStored, Refusal
from logui_tx.flow import Flow
from logui_tx.intake import Intake
from logui_tx.interfaces import IDialect, IPeer
from logui_tx.model import (
    AppDataChange,
    Batch,
    Close,
    Connection,
    EndReason,
    Leave,
    Limits,
    Receipt,
    Reply,
    Welcome,
)
from logui_tx.sessions import Admit, LiveSessions, Opened
from logui_tx.stages import OVER, Stages, new_stages

log = Logger()


class Conversation:
    """Tell it what happens: :meth:`received`, :meth:`lost`, :meth:`announce`, :meth:`drain`."""

    def __init__(
        self,
        peer: IPeer,
        dialect: IDialect,
        connection: Connection,
        *,
        admit: Admit,
        sessions: LiveSessions,
        intake: Intake,
        clock: IReactorTime,
        limits: Limits,
    ) -> None:
        self._peer = peer
        self._dialect = dialect
        self._connection = connection
        self._admit = admit
        self._sessions = sessions
        self._intake = intake
        self._clock = clock
        self._limits = limits
        self._opened: Opened | None = None
        self._instance = ""
        # An empty deque takes as much as all the rest of a conversation that only waits.
        self._inbox: deque[tuple[bytes, bool]] | None = None
        self._pending: Reply | None = None
        self._sending: IDelayedCall | None = None
        self._leaving: Leave | None = None
        self._answers: deque[Answer] | None = None
        self._flow = Flow(peer, intake, limits.max_unacknowledged)
        self._hits = 0
        self._end_reason: EndReason | None = None
        self._timer: IDelayedCall | None = clock.callLater(limits.handshake_timeout, self._expired)
        self._held = self._asking = self._gone = False
        self._stage: Stages = new_stages(self)

    # --- what the transport and the service tell

    def received(self, message: bytes, binary: bool) -> None:
        """A message came."""
        try:
            if self._opened is None:
                self._stage.message(message, binary)
            else:
                # The stages would say the same of nearly every message there is.
                self.take(message, binary)
        except Exception:  # noqa: BLE001 - whatever it is, this client must not be left waiting
            self._crashed(Failure())

    def lost(self, reason: EndReason) -> None:
        """The connection is gone, and how."""
        self._stop_timer()
        self._send_pending()
        if self._end_reason is None:
            self._end_reason = reason
        self._stage.lost()
        self._gone = True
        self._let_go(asking=self._asking)

    def _let_go(self, *, asking: bool) -> None:
        """Over, nothing leads back here any more: else only the collector would find it."""
        self._asking = asking
        if self._gone and not asking:
            self._stage = OVER

    def announce(self) -> None:
        """The server stops soon."""
        self._stage.announce()

    def drain(self) -> None:
        """The server stops now: answer what is in flight, then end."""
        self._stage.drained()

    # --- the handshake

    def _expired(self) -> None:
        self._timer = None
        self._stage.expire()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ask_admission(self, message: bytes, binary: bool) -> None:
        try:
            hello = self._dialect.read_hello(message, binary)
        except BadRequest as why:
            self._stage.misread()
            self._hit(why)
            return
        except HandshakeRefused as why:
            self._stop_timer()
            self._stage.refused(self._dialect.refuse(why))
            return
        self._stop_timer()
        self._instance = hello.instance
        self._asking = True
        asked = self._admit(hello, self._connection, self._dialect)
        asked.addCallbacks(self._admitted, self._not_admitted)
        asked.addErrback(self._crashed)
        asked.addCallback(lambda _: self._let_go(asking=False))

    def _admitted(self, opened: Opened) -> None:
        self._stage.admitted(opened)

    def _not_admitted(self, failure: Failure) -> None:
        why = failure.value
        if isinstance(why, HandshakeRefused):
            self._stage.refused(self._dialect.refuse(why))
        else:
            if isinstance(why, LoguiError):  # its text says it all
                log.warn("a handshake could not be decided: {why}", why=why)
            else:
                log.failure("a handshake could not be decided", failure=failure)
            self._stage.refused(self._dialect.failed("The server cannot check the handshake at the moment."))

    def welcome(self, opened: Opened) -> None:
        self._opened = opened
        opened.evict = self._evicted
        row = opened.session.handle.row
        started_at = row.started_at if row.client_started_at is None else row.client_started_at
        welcome = self._dialect.welcome(
            Welcome(row.id, opened.now, opened.last_payload_id, opened.resumed, started_at)
        )
        if welcome is not None:
            self._peer.send(welcome)
        self._empty_inbox()

    # --- messages

    def keep(self, message: bytes, binary: bool) -> None:
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append((message, binary))
        self._flow.more(len(message))

    def _empty_inbox(self) -> None:
        while self._inbox and not self._held:
            message, binary = self._inbox.popleft()
            self._flow.less(len(message))
            self._stage.message(message, binary)

    def take(self, message: bytes, binary: bool) -> None:
        if self._held:
            self.keep(message, binary)
            return
        try:
            request = self._dialect.read(message, binary)
            if type(request) is Batch:
                self._store(request, message)
            else:
                assert isinstance(request, AppDataChange)
                self._change(request, len(message))
        except BadRequest as why:
            self._hit(why)

    def _store(self, batch: Batch, message: bytes) -> None:
        opened = self._opened
        assert opened is not None
        if batch.app_data is not None:
            self._intake.put_in_force(
                opened.session, batch.app_data, before=opened.app_data, updated=batch.app_data_updated
            )
            opened.app_data = batch.app_data
        answer = Answer(self, len(message), batch.payload_id, batch.leave)
        self._intake.take(opened.session, batch, message, self._instance, opened.clock_offset, answer)
        if batch.app_data is not None:
            self._intake.replace(opened.session, batch.app_data)
        self._await(answer)
        if batch.leave is not None:
            self._held, self._leaving = True, batch.leave
        answer.placed = True
        if answer.told is not None:
            answer.pass_on()

    def stored(self, receipt: Receipt, answer: Answer) -> None:
        """A payload is on disk."""
        try:
            if answer.leave is None:
                answers, dialect = self._answers, self._dialect
                message = dialect.stored(receipt)
                if dialect.cumulative or not answers or answers[0] is not answer:
                    self._fulfil(answer, Reply(message, None, dialect.cumulative))
                    return
                # Nearly always: nothing has to go before it.
                answers.popleft()
                if message is not None:
                    self._peer.send(message)
                self._flow.less(answer.size)
                if answers:
                    self._send_ready()
            else:
                self._fulfil(answer, self._dialect.farewell(answer.leave))
                self._stage.finished()
        except Exception:  # noqa: BLE001 - others wait for theirs behind this one
            self._crashed(Failure(), answer)

    def unstored(self, why: Exception, answer: Answer) -> None:
        """A payload, or a change, could not be stored."""
        try:
            text = f"The events could not be stored: {why}."
            self._fulfil(answer, self._dialect.unstored(answer.payload_id, text))
            if answer.leave is not None:
                self._leaving = None
                self._held = False
                self._empty_inbox()
        except Exception:  # noqa: BLE001 - as above
            self._crashed(Failure(), answer)

    def _change(self, change: AppDataChange, size: int) -> None:
        assert self._opened is not None
        changed = self._intake.change(self._opened.session, change)
        answer = self._expect(size)
        changed.addCallback(lambda _receipt: self._fulfil(answer, Reply(self._dialect.changed())))
        changed.addErrback(self._unchanged, answer)

    def _unchanged(self, failure: Failure, answer: Answer) -> None:
        if isinstance(failure.value, NotStored):
            self.unstored(failure.value, answer)
        else:
            self._crashed(failure, answer)

    def _hit(self, why: BadRequest) -> None:
        self._hits += 1
        reply = self._dialect.bad(why, self._hits)
        if reply.close is not None:
            self._end_reason = EndReason.BAD_REQUESTS
        self._fulfil(self._expect(0), reply)
        if reply.close is not None:
            self._stage.finished()

    def _crashed(self, failure: Failure, answer: Answer | None = None) -> None:
        """A fault of ours: say so, and end this connection rather than leave it half alive.

        ``answer`` is the place of what failed, which nothing else will fill.
        """
        log.failure("a conversation failed", failure=failure)
        waits = answer is not None and answer in (self._answers or ())
        place = answer if answer is not None and waits else self._expect(0)
        self._fulfil(place, self._dialect.failed("The server failed on this request."))
        self._stage.finished()

    # --- answers and flow

    def _expect(self, size: int) -> Answer:
        return self._await(Answer(self, size))

    def _await(self, answer: Answer) -> Answer:
        if self._answers is None:
            self._answers = deque()
        self._answers.append(answer)
        if answer.size:
            self._flow.more(answer.size)
        return answer

    def _fulfil(self, answer: Answer, reply: Reply) -> None:
        answer.reply = reply
        self._send_ready()

    def _send_ready(self) -> None:
        answers = self._answers
        while answers and (ready := answers[0].reply) is not None:
            size = answers.popleft().size
            if ready.cumulative:
                self._send_soon(ready)
            else:
                self.send(ready)
            if size:
                self._flow.less(size)

    def _send_soon(self, reply: Reply) -> None:
        """At the end of this turn, unless the next of its kind comes before: a commit brings many at once."""
        self._pending = reply
        if self._sending is None:
            self._sending = self._clock.callLater(0, self._send_pending)

    def _send_pending(self) -> None:
        if self._sending is not None:
            if self._sending.active():
                self._sending.cancel()
            self._sending = None
        pending, self._pending = self._pending, None
        if pending is not None and pending.message is not None:
            self._peer.send(pending.message)

    def send(self, reply: Reply) -> None:
        self._send_pending()
        if reply.message is not None:
            self._peer.send(reply.message)
        if reply.close is not None:
            self._peer.close(reply.close)
            # What came after is not for us; the client's half of the goodbye stands behind it.
            self._inbox = None
            self._flow.forget()

    # --- endings

    def refuse_late(self) -> None:
        seconds = f"{self._limits.handshake_timeout:g}"
        self._refuse(Refusal.TIMEOUT, f"No handshake was made within {seconds} seconds.")

    def refuse_in_shutdown(self) -> None:
        self._end_reason = EndReason.SERVER_SHUTDOWN
        self._refuse(Refusal.SHUTDOWN, "The server is shutting down.")

    def _refuse(self, cause: Refusal, text: str) -> None:
        self._stop_timer()
        self.send(self._dialect.refuse(HandshakeRefused(cause, text)))

    def send_announcement(self) -> None:
        self._send_pending()
        announcement = self._dialect.shutdown()
        if announcement.message is not None:
            self._peer.send(announcement.message)
        if announcement.close is not None:
            self._end_reason = EndReason.SERVER_SHUTDOWN
            self._peer.close(announcement.close)

    def send_end(self) -> None:
        self._end_reason = EndReason.SERVER_SHUTDOWN
        self._fulfil(self._expect(0), Reply(close=self._dialect.gone()))

    def _evicted(self) -> None:
        """The page has another connection by now; this one is what is left of it when a network changed."""
        self._fulfil(self._expect(0), Reply(close=Close(None)))
        self._stage.finished()

    def leave(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            reason = self._end_reason if self._leaving is None else self._leaving.end_reason
            self._sessions.leave(opened, reason or EndReason.LOST)

    def release(self, opened: Opened) -> None:
        """The session was opened for a connection that is over by now."""
        self._sessions.leave(opened, self._end_reason or EndReason.LOST)
