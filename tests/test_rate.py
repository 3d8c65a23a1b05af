"""How often one address may ask."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.web.rate import PERIOD, Rate


class RateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.rate = Rate(self.clock, 2, capacity=3)

    def test_so_many_in_a_period(self) -> None:
        self.assertEqual(self.rate.wait("a"), 0)
        self.clock.advance(10)
        self.assertEqual([self.rate.wait("a") for _ in range(2)], [0, PERIOD - 10])
        self.clock.advance(PERIOD - 11)
        self.assertEqual(self.rate.wait("a"), 1)
        self.clock.advance(1)
        self.assertEqual([self.rate.wait("a") for _ in range(3)], [0, 0, PERIOD])

    def test_each_address_for_itself(self) -> None:
        self.assertEqual([self.rate.wait(address) for address in "aabba"], [0, 0, 0, 0, PERIOD])

    def test_any_number(self) -> None:
        rate = Rate(self.clock, 0)
        self.assertEqual({rate.wait("a") for _ in range(5000)}, {0})
        self.assertEqual(rate._calls, {})

    def test_memory_is_bounded(self) -> None:
        for number in range(1000):
            self.rate.wait(str(number))
        self.assertEqual(list(self.rate._calls), ["997", "998", "999"])

    def test_who_asks_again_pushes_nobody_out(self) -> None:
        for address in "abcabcabc":
            self.rate.wait(address)
        self.assertEqual([self.rate.wait(address) for address in "abc"], [PERIOD] * 3)

    def test_what_is_over_is_forgotten(self) -> None:
        self.rate.wait("a")
        self.clock.advance(PERIOD)
        self.rate.wait("b")
        self.assertEqual(list(self.rate._calls), ["b"])
