"""When a connection is not read from, and when it is again."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.flow import Flow, messages
from logui_tx.testing import FakePeer


class FakeCommon:
    def __init__(self) -> None:
        self.congested = False
        self.calls: list[Callable[[], None]] = []

    def when_clear(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def clear(self) -> None:
        self.congested = False
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class FlowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.peer, self.common = FakePeer(), FakeCommon()
        self.flow = Flow(self.peer, self.common, 10_000)

    def test_by_bytes(self) -> None:
        self.flow.more(6000)
        self.flow.more(4000)
        self.assertFalse(self.peer.paused)
        self.flow.more(1)
        self.assertTrue(self.peer.paused)
        self.flow.less(4000)
        self.assertTrue(self.peer.paused)
        self.flow.less(1001)
        self.assertFalse(self.peer.paused)

    def test_by_messages(self) -> None:
        """Of two bytes each: they would take a hundred times that in memory."""
        for _ in range(1000):
            self.flow.more(2)
        self.assertFalse(self.peer.paused)
        self.flow.more(2)
        self.assertTrue(self.peer.paused)
        for _ in range(500):
            self.flow.less(2)
        self.assertTrue(self.peer.paused)
        self.flow.less(2)
        self.assertFalse(self.peer.paused)

    def test_how_many_messages(self) -> None:
        self.assertEqual([messages(size) for size in (0, 10_000, 1024 * 1024)], [1000, 1000, 2048])

    def test_congested(self) -> None:
        self.common.congested = True
        self.flow.more(1)
        self.assertTrue(self.peer.paused)
        self.flow.less(1)
        self.assertTrue(self.peer.paused)
        self.common.clear()
        self.assertFalse(self.peer.paused)

    def test_congested_and_too_much_of_its_own(self) -> None:
        self.common.congested = True
        self.flow.more(6000)
        self.common.clear()
        self.assertTrue(self.peer.paused)
        self.flow.less(1000)
        self.assertFalse(self.peer.paused)

    def test_forgotten(self) -> None:
        self.flow.more(20_000)
        self.flow.forget()
        self.assertFalse(self.peer.paused)

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 4000), st.booleans()), max_size=60))
    def test_nobody_is_forgotten(self, steps: list[tuple[bool, int, bool]]) -> None:
        """Whatever happens: with nothing that waits, and room for all, it is read from."""
        self.setUp()
        waiting: list[int] = []
        for comes, size, congested in steps:
            self.common.congested = congested
            if not congested:
                self.common.clear()
            if comes:
                waiting.append(size)
                self.flow.more(size)
            elif waiting:
                self.flow.less(waiting.pop(0))
        for size in waiting:
            self.flow.less(size)
        self.common.clear()
        self.assertFalse(self.peer.paused)
