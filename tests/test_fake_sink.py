"""The contract of sinks, over the sink in memory."""

from twisted.trial.unittest import TestCase

from logui_tx.errors import SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Record
from logui_tx.testing import FakePlace, FakeSink, SinkContract, make_record


class FakeSinkTests(SinkContract, TestCase):
    prepares = False

    def setUp(self) -> None:
        self.place = FakePlace()

    def make_sink(self) -> ISink:
        return FakeSink(self.place, prepares=self.prepares)

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        return [(key, one.session_id, one.seq, one.event) for key, one in self.place.records.items()]

    async def kept_sessions(self) -> dict[str, str | None]:
        return {key: one.end_reason for key, one in self.place.sessions.items()}

    async def take_away(self) -> None:
        self.place.away = SinkAway("for the test")

    async def bring_back(self) -> None:
        self.place.away = None

    def refused_record(self) -> Record:
        bad = make_record(3)
        self.place.refused.add(bad.record_id)
        return bad


class PreparingSinkTests(FakeSinkTests):
    prepares = True
