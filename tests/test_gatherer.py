from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.gatherer import TurnGatherer
from logui_tx.journal.segment import Kind


def entry(n: int) -> Entry:
    return Entry(Kind.EVENTS, SessionHandle(SessionRow("s", "f", "a", "d", 0)), n, b"{}", epoch=0)


class TurnGathererTests(SynchronousTestCase):
    def test_entries_go_on_together_in_order_when_the_turn_ends(self) -> None:
        clock, passed = Clock(), []
        gatherer = TurnGatherer(clock, passed.append)
        entries = [entry(n) for n in range(3)]
        for each in entries:
            gatherer.append(each)
        self.assertEqual(passed, [])
        clock.advance(0)
        self.assertEqual(passed, [entries])

    def test_every_turn_is_passed_on_once(self) -> None:
        clock, passed = Clock(), []
        gatherer = TurnGatherer(clock, passed.extend)
        for n in range(3):
            gatherer.append(entry(n))
            clock.advance(0)
        self.assertEqual([each.received for each in passed], [0, 1, 2])
        self.assertEqual(clock.getDelayedCalls(), [])
