"""What waits for the journal's writer, in one thread here: nothing blocks where something waits."""

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal import handover
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.handover import Handover
from logui_tx.journal.segment import Kind

HANDLE = SessionHandle(SessionRow("s", "f", "a", "d", 0))


def entry(n: int, size: int = 1) -> Entry:
    return Entry(Kind.EVENTS, HANDLE, n, b"{}", epoch=0, message=b"m" * size)


class HandoverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.naps: list[float] = []
        self.patch(handover.time, "sleep", self.naps.append)
        self.handover = Handover(0.0)

    def test_all_that_waits_in_order(self) -> None:
        entries = [entry(n) for n in range(6)]
        self.handover.put(entries[:3])
        self.handover.put(())
        self.handover.put((entries[3],))
        self.handover.put(entries[4:])
        self.assertEqual(self.handover.group(0.0), entries)
        self.assertEqual(self.handover.group(0.0), [])
        self.assertFalse(self.handover.closed)
        self.assertEqual(self.naps, [])

    def test_large_ones_are_parted(self) -> None:
        self.patch(handover, "MAX_COMMIT", 10)
        entries = [entry(n, size) for n, size in enumerate([6, 6, 4, 4, 1])]
        self.handover.put(entries[:2])
        self.handover.put(entries[2:])
        self.assertEqual(self.handover.group(None), entries[:2])
        late = entry(9)
        self.handover.put((late,))
        self.assertEqual(self.handover.group(None), [*entries[2:], late])

    def test_the_end_comes_last(self) -> None:
        self.patch(handover, "MAX_COMMIT", 1)
        self.handover.put([entry(1), entry(2)])
        self.handover.close()
        self.assertEqual([each.received for each in self.handover.group(None)], [1])
        self.assertTrue(self.handover.closed)
        self.assertFalse(self.handover.done)
        self.assertEqual([each.received for each in self.handover.group(None)], [2])
        self.assertTrue(self.handover.done)

    def test_closed_with_nothing(self) -> None:
        self.handover.close()
        self.assertEqual(self.handover.group(None), [])
        self.assertTrue(self.handover.done)

    def test_a_delay_is_for_who_comes_first(self) -> None:
        self.patch(handover, "MAX_COMMIT", 1)
        self.handover = Handover(0.25)
        self.handover.put([entry(1), entry(2)])
        self.handover.group(None)
        self.assertEqual(self.naps, [0.25])
        self.handover.group(None)
        self.assertEqual(self.naps, [0.25])
        self.handover.close()
        self.handover.group(None)
        self.assertEqual(self.naps, [0.25])
