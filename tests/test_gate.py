"""How many connections there may be."""

import resource
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.web import gate
from logui_tx.web.gate import Gate

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class GateTests(SynchronousTestCase):
    def status(self, of: Gate, address: str) -> int | None:
        why = of.why_not(address)
        if why is not None:
            self.assertTrue(why[1].endswith("."))
        return None if why is None else why[0]

    def test_in_all(self) -> None:
        full = Gate(2, 0)
        full.enter("a")
        self.assertIsNone(self.status(full, "a"))
        full.enter("b")
        self.assertEqual((self.status(full, "a"), self.status(full, "c")), (503, 503))
        full.leave("b")
        self.assertIsNone(self.status(full, "c"))

    def test_from_one_address(self) -> None:
        per_address = Gate(0, 1)
        per_address.enter("a")
        self.assertEqual((self.status(per_address, "a"), self.status(per_address, "b")), (429, None))
        per_address.leave("a")
        self.assertIsNone(self.status(per_address, "a"))

    def test_a_full_server_is_said_first(self) -> None:
        both = Gate(1, 1)
        both.enter("a")
        self.assertEqual(self.status(both, "a"), 503)

    def test_0_is_any_number(self) -> None:
        for _ in range(1000):
            (anything := Gate(0, 0)).enter("a")
        self.assertIsNone(self.status(anything, "a"))

    @unhurried
    @given(
        st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=40),
        st.integers(0, 5),
        st.integers(0, 3),
    )
    def test_counts(self, steps: list[tuple[bool, str]], most: int, per_address: int) -> None:
        counted, present = Gate(most, per_address), Counter[str]()
        for enters, address in steps:
            if enters:
                refused = (most and present.total() >= most) or (
                    per_address and present[address] >= per_address
                )
                self.assertEqual(counted.why_not(address) is not None, bool(refused))
                if not refused:
                    counted.enter(address)
                    present[address] += 1
            elif present[address]:
                counted.leave(address)
                present[address] -= 1
            self.assertEqual(counted.connections, present.total())
            self.assertEqual(dict(counted._by_address), dict(+present), "addresses that left are forgotten")


class DescriptorsTests(SynchronousTestCase):
    def limit(self, soft: int, hard: int) -> list[tuple[int, int]]:
        asked: list[tuple[int, int]] = []
        self.patch(resource, "getrlimit", lambda _what: (soft, hard))
        self.patch(resource, "setrlimit", lambda _what, limits: asked.append(limits))
        return asked

    def test_raises_the_soft_limit(self) -> None:
        asked = self.limit(1024, 65_536)
        self.assertEqual(gate.descriptors(), 65_536)
        self.assertEqual(asked, [(65_536, 65_536)])

    def test_leaves_a_limit_that_is_as_high_as_it_can_be(self) -> None:
        asked = self.limit(4096, 4096)
        self.assertEqual((gate.descriptors(), asked), (4096, []))

    def test_here(self) -> None:
        self.assertGreater(gate.descriptors(), gate.RESERVED_DESCRIPTORS)
