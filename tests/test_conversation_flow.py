"""Who sends more than can be written is not read from."""

from tests.test_conversation import FULL, ConversationTestCase


class FlowTests(ConversationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_paused_past_the_limit_until_half(self) -> None:
        self.events(filler="x" * 500)
        self.assertFalse(self.peer.paused)
        self.events(filler="x" * 500)
        self.assertTrue(self.peer.paused)
        self.events()
        self.settle(1)
        self.assertTrue(self.peer.paused)
        self.settle(1)
        self.assertFalse(self.peer.paused)

    def test_what_waits_for_admission_counts(self) -> None:
        self.peer, self.talk = self.connect()
        self.hello()
        self.events(filler="x" * 1000)
        self.assertTrue(self.peer.paused)
        self.settle()
        self.assertTrue(self.peer.paused)
        self.settle(error=FULL)
        self.assertFalse(self.peer.paused)

    def congest(self) -> None:
        """Another connection has too much in flight."""
        mine, self.talk = self.talk, self.connect()[1]
        self.hello()
        self.settle()
        self.events(filler="x" * 5000)
        self.talk = mine

    def test_paused_while_all_is_congested(self) -> None:
        self.congest()
        self.assertFalse(self.peer.paused)
        self.events()
        self.assertTrue(self.peer.paused)
        self.settle(1)
        self.assertFalse(self.peer.paused)

    def test_congested_and_past_its_own_limit(self) -> None:
        self.congest()
        self.events(filler="x" * 600)
        self.settle(1)
        self.assertTrue(self.peer.paused)
        self.settle(1)
        self.assertFalse(self.peer.paused)

    def test_a_goodbye_does_not_pause(self) -> None:
        """The client's half of it would not be read."""
        self.congest()
        self.talk.drain()
        self.assertEqual((self.peer.heard, self.peer.paused), ([1001], False))
