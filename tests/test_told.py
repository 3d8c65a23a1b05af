"""What a sink tells of itself, as it is kept."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.deliveries import make_sinks
from logui_tx.delivery.told import checked_state, own_state
from logui_tx.journal import cursors
from tests.deliveries import DeliveryTestCase

kinds = st.from_regex(r"[a-z][a-z0-9+.-]{0,9}", fullmatch=True)


class StateTests(SynchronousTestCase):
    @given(st.binary(max_size=9), kinds, kinds)
    def test_a_state_is_its_kinds(self, state: bytes, kind: str, other: str) -> None:
        saved = checked_state(state, kind)
        self.assertEqual(own_state(saved, kind), state)
        if other != kind:
            self.assertEqual(own_state(saved, other), b"")

    def test_before_kinds_were_noted(self) -> None:
        for saved in (b"", b"5-3 6-0", b'{"0":5}'):
            self.assertEqual(own_state(saved, "kafka"), saved)


class MovedTests(DeliveryTestCase):
    """A sink of another kind is given the name of one that was there before."""

    def test_its_state_is_not_told(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        self.crash(self.deliver(kind="redis"))
        self.crash(self.deliver(kind="redis"))
        known = self.sink.opened
        self.assertNotEqual(known, [b""])
        self.journal.session("b").send(2)
        self.journal.commit()
        self.crash(self.deliver(kind="jsonl"))
        self.assertEqual(self.sink.opened, [b""])
        self.assertEqual(self.numbers(), [1, 2])
        self.crash(self.deliver(kind="redis"))
        self.assertEqual(self.sink.opened, [b""])

    def test_it_is_kept_until_there_is_a_newer_one(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        self.crash(self.deliver(kind="redis"))
        before = self.cursor().state
        cursors.rewind(self.connection, "sink", self.cursor().position)
        self.crash(self.deliver(kind="jsonl"))
        self.assertEqual(self.cursor().state, before)

    def test_the_kind_is_the_makers(self) -> None:
        with TemporaryDirectory() as folder:
            uris = [f"jsonl:{Path(folder)}", "redis://h/0", "rediss://h/0", "postgres://h/d", "https://h/x"]
            made = make_sinks(uris, reactor)
        self.assertEqual(
            [one.options.kind for one in made], ["jsonl", "redis", "redis", "postgresql", "http"]
        )
