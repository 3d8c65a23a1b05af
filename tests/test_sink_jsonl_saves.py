"""``jsonl:`` with a delivery before it: what is saved of it, and what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed

from logui_tx.delivery.delivery import SinkDelivery
from logui_tx.delivery.find import sink_makers
from logui_tx.journal import cursors
from logui_tx.sinks.jsonl import LOOK, RESTED, JsonLines
from logui_tx.sinks.uri import read_uri
from tests.deliveries import DeliveryTestCase
from tests.journals import NOW
from tests.test_delivery_faults import BadStep


class AtOnce(JsonLines):
    """Works in the caller's thread."""

    def _in_thread(self, do: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        return execute(do, *arguments)

    def open(self, state: bytes) -> Deferred[None]:
        return self._in_thread(self._open, state).addCallback(lambda _: self._look_later())

    def _look_later(self) -> None:
        self._look_no_more()
        self._looking = self._reactor.callLater(LOOK, self._look)

    def close(self) -> Deferred[None]:
        self._look_no_more()
        self._files.release()
        return succeed(None)


class SavesTestCase(DeliveryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(NOW / 1000)
        self.folder = Path(self.enterContext(TemporaryDirectory())) / "logui"

    def make(self, query: str = "") -> JsonLines:
        return AtOnce(read_uri(f"jsonl:{self.folder}{query}", sink_makers())[1], self.clock)

    def lines(self, kind: str) -> list[Any]:
        return [json.loads(line) for path in self.folder.glob(f"{kind}_*") for line in path.open()]

    def events(self) -> list[int]:
        return sorted(one["event"]["n"] for one in self.lines("events"))

    def wait(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))


class LetterTests(SavesTestCase):
    def test_sessions_of_one_batch(self) -> None:
        """They are offered again one by one, from one and the same place."""
        for n in range(3):
            self.journal.session(f"s{n}").send(n)
        self.journal.commit()
        step = BadStep()
        self.deliver(sink=self.make(), steps=[step])
        self.assertEqual(self.cursor().dead_letters, 6)
        step.mended = True
        cursors.retry(self.connection, "sink")
        self.wait(5)
        self.assertEqual(self.cursor().dead_letters, 0)
        self.assertEqual(sorted(one["id"] for one in self.lines("sessions")), ["s0", "s1", "s2"])
        self.assertEqual(self.events(), [0, 1, 2])


class RestingTests(SavesTestCase):
    """A file that nobody writes to is finished, but not before the journal knows what is in it."""

    def unsaved(self, query: str = "", **options: Any) -> SinkDelivery:
        """Three events are written, which is not saved."""
        self.journal.session("a").send(0)
        self.journal.commit()
        delivery = self.deliver(sink=self.make(query), **options)
        self.journal.session("b").send(1, 2, 3)
        self.journal.commit()
        self.full = True
        delivery.wake(3)
        self.wait(2)
        self.assertEqual(self.events(), [0, 1, 2, 3])
        self.assertIsNotNone(delivery.progress.trouble)
        return delivery

    def finished(self) -> list[Path]:
        return list(self.folder.glob("events_*.jsonl"))

    def test_a_pause_before_the_next_attempt(self) -> None:
        self.unsaved()
        self.full = False
        cursors.pause(self.connection, "sink", True)
        self.wait(24 * 3600 + RESTED)
        self.assertEqual(self.finished(), [])
        cursors.pause(self.connection, "sink", False)
        self.wait(5)
        self.assertEqual(self.events(), [0, 1, 2, 3])
        self.wait(RESTED + LOOK)
        self.assertEqual(len(self.finished()), 1)

    def test_a_journal_that_is_full_for_long(self) -> None:
        self.unsaved("?rotate-age=5m", retry_max=3600.0)
        self.wait(4 * 3600)
        self.full = False
        self.wait(3600)
        self.assertEqual(self.events(), [0, 1, 2, 3])
        self.wait(RESTED + LOOK)
        self.assertEqual(self.events(), [0, 1, 2, 3])
        self.assertNotEqual(self.finished(), [])
