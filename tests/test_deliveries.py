"""All sinks together: what of it is the journal's, and what is said of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.deliveries import Deliveries
from logui_tx.errors import NotStored
from logui_tx.journal.entry import Entry


class DeliveriesTestCase(SynchronousTestCase):
    def deliveries(self, *uris: str) -> Deliveries:
        self.entries: list[Entry] = []
        return Deliveries(Clock(), Path("unused"), uris, self.entries.append)


class SaveTests(DeliveriesTestCase):
    def save(self, work: Callable[..., None]) -> tuple[Deliveries, Entry, Any]:
        deliveries = self.deliveries()
        saved = deliveries._save(work)
        return deliveries, self.entries.pop(), saved

    def test_what_is_saved(self) -> None:
        deliveries, entry, saved = self.save(lambda _connection: None)
        self.assertEqual(deliveries.settled([entry], None), [])
        self.successResultOf(saved)

    def test_what_failed_alone(self) -> None:
        deliveries, entry, saved = self.save(lambda _connection: None)
        assert entry.work is not None
        entry.work.failed = NotStored("no such table")
        deliveries.settled([entry], None)
        self.assertEqual(str(self.failureResultOf(saved, NotStored).value), "no such table")
