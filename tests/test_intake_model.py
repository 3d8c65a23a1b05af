"""The intake against a model: whatever fails and whenever it is told, nothing acknowledged is missing.

The journal is simulated with its rule about epochs; its notices wait for the reactor, as the real ones do.
"""

from collections import deque
from typing import Any

from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from logui_tx.app_data import AppData
from logui_tx.errors import NotStored
from logui_tx.intake import Intake, LiveSession
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.segment import Kind
from logui_tx.model import AppDataChange, Batch, Limits, Receipt
from tests.taking import take

SESSIONS = ("s", "t")
INSTANCES = ("", "tab")


@define(eq=False)
class Disk:
    """What is committed of a session."""

    last_seq: int = 0
    app_data: AppData = field(factory=AppData)
    payload_ids: dict[str, int] = field(factory=dict)


@define(eq=False)
class Journal:
    """The writer's side: groups in order, epochs that failed, notices on their way."""

    queue: deque[Entry] = field(factory=deque)
    notices: deque[tuple[list[Entry], NotStored | None]] = field(factory=deque)
    failed_epoch: int = -1
    disks: dict[str, Disk] = field(factory=lambda: {name: Disk() for name in SESSIONS})
    changes: dict[int, dict[str, bytes]] = field(factory=dict)
    payloads: set[bytes] = field(factory=set)
    committed: set[int] = field(factory=set)

    def commit(self, count: int, works: bool) -> None:
        """As ``JournalWriter._settle`` does."""
        group = [self.queue.popleft() for _ in range(min(count, len(self.queue)))]
        fresh = [entry for entry in group if entry.epoch > self.failed_epoch]
        stale = [entry for entry in group if entry.epoch <= self.failed_epoch]
        if stale:
            self.notices.append((stale, NotStored("an earlier write failed")))
        if fresh and works:
            for entry in fresh:
                self.write(entry)
            self.notices.append((fresh, None))
        elif fresh:
            self.failed_epoch = fresh[-1].epoch
            self.notices.append((fresh, NotStored("disk full")))

    def write(self, entry: Entry) -> None:
        self.committed.add(id(entry))
        if entry.kind is None:
            return
        disk = self.disks[entry.handle.row.id]
        disk.app_data = disk.app_data.changed(self.changes.get(id(entry), {}))
        assert entry.app_data == disk.app_data.encoded, "the data in force is that of the stream on disk"
        if entry.kind is Kind.EVENTS:
            assert entry.first_seq == disk.last_seq + 1, "sequence numbers have no gap"
            disk.last_seq += entry.count
            assert entry.message not in self.payloads, "a payload is stored once"
            self.payloads.add(entry.message)
            if entry.payload_id is not None:
                assert entry.payload_id > disk.payload_ids.get(entry.instance, 0)
                disk.payload_ids[entry.instance] = entry.payload_id


@define(eq=False)
class Payload:
    """One that a client has sent, maybe more than once; ``id`` None is never sent again."""

    session: str
    instance: str
    id: int | None
    message: bytes
    acknowledged: bool = False


class IntakeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal()
        self.intake = Intake(Clock(), self.journal.queue.append, Limits())
        self.sessions = {name: self.begin(name) for name in SESSIONS}
        self.payloads: list[Payload] = []
        self.next_id = {(session, instance): 1 for session in SESSIONS for instance in INSTANCES}
        self.entries: list[Entry] = []
        self.made = 0
        self.faults: list[Failure] = []

    def begin(self, name: str) -> LiveSession:
        row = SessionRow(name, "flight", "application", "logui-0.4", 0)
        session = self.intake.live[name] = LiveSession(name, "flight", SessionHandle(row), 0)
        return session

    # --- clients

    @rule(session=st.sampled_from(SESSIONS), instance=st.sampled_from(INSTANCES), gap=st.integers(0, 1))
    def send_new(self, session: str, instance: str, gap: int) -> None:
        payload_id = self.next_id[session, instance] + gap
        self.next_id[session, instance] = payload_id + 1
        self.send(
            Payload(
                session, instance, payload_id, b"%s/%s/%d" % (session.encode(), instance.encode(), payload_id)
            )
        )

    @rule(session=st.sampled_from(SESSIONS))
    def send_without_id(self, session: str) -> None:
        self.made += 1
        self.send(Payload(session, "", None, b"without id %d" % self.made))

    @rule(pick=st.integers(0, 10_000))
    def send_again(self, pick: int) -> None:
        """Refused, in flight or acknowledged, in any order."""
        again = [payload for payload in self.payloads if payload.id is not None]
        if again:
            self.submit(again[pick % len(again)])

    @rule(session=st.sampled_from(SESSIONS), key=st.sampled_from("ab"), delete=st.booleans())
    def change(self, session: str, key: str, delete: bool) -> None:
        self.made += 1
        changes = {key: b"null" if delete else b"%d" % self.made}
        changed = self.intake.change(self.sessions[session], AppDataChange(changes))
        entry = self.remember()
        self.journal.changes[id(entry)] = changes
        self.watch(changed, entry)

    def send(self, payload: Payload) -> None:
        self.payloads.append(payload)
        self.submit(payload)

    def submit(self, payload: Payload) -> None:
        before = len(self.journal.queue)
        batch = Batch(len(payload.message) % 3, payload.id, payload.instance)
        stored = take(self.intake, self.sessions[payload.session], batch, payload.message, "other", 0)
        entry = self.remember() if len(self.journal.queue) > before else None

        def acknowledged(receipt: Receipt) -> Receipt:
            assert payload.message in self.journal.payloads, "acknowledged, so it is on disk"
            assert receipt.payload_id == payload.id
            payload.acknowledged = True
            return receipt

        self.watch(stored.addCallback(acknowledged), entry)

    def remember(self) -> Entry:
        entry = self.journal.queue[-1]
        self.entries.append(entry)
        return entry

    def watch(self, done: "Deferred[Receipt]", entry: Entry | None) -> None:
        def refused(failure: Failure) -> None:
            failure.trap(NotStored)
            assert entry is None or id(entry) not in self.journal.committed, "refused, so it is not on disk"

        def answered(_receipt: Any) -> None:
            assert entry is None or id(entry) in self.journal.committed, "acknowledged, so it is on disk"

        done.addCallbacks(answered, refused).addErrback(self.faults.append)

    # --- the journal and the reactor

    @rule(count=st.integers(1, 6), works=st.booleans())
    def commit(self, count: int, works: bool) -> None:
        self.journal.commit(count, works)

    @rule()
    def tell(self) -> None:
        if self.journal.notices:
            self.intake.settled(*self.journal.notices.popleft())

    @invariant()
    def nothing_went_wrong(self) -> None:
        for fault in self.faults:
            fault.raiseException()

    @invariant()
    def what_is_known_to_be_committed_is(self) -> None:
        for name, session in self.sessions.items():
            assert session.committed.last_seq <= self.journal.disks[name].last_seq

    def settle_all(self) -> None:
        while self.journal.queue or self.journal.notices:
            self.journal.commit(3, works=True)
            while self.journal.notices:
                self.tell()

    def teardown(self) -> None:
        """When the disk works again, everything gets stored by sending it in order."""
        self.settle_all()
        for payload in self.payloads:
            if payload.id is not None and not payload.acknowledged:
                self.submit(payload)
        self.settle_all()
        self.nothing_went_wrong()
        for payload in self.payloads:
            assert payload.id is None or payload.acknowledged
        for name, session in self.sessions.items():
            disk = self.journal.disks[name]
            assert session.now.last_seq == session.committed.last_seq == disk.last_seq
            assert session.now.payload_ids == session.committed.payload_ids == disk.payload_ids
            assert session.now.app_data.encoded == disk.app_data.encoded
            assert session.in_flight == 0
        assert not self.intake.congested
        assert self.intake.when_idle().called


IntakeMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
IntakeTests = IntakeMachine.TestCase
