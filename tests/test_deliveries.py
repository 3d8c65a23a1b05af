"""All sinks together: what of it is the journal's, and what is said of it."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery import deliveries as deliveries_module
from logui_tx.delivery.deliveries import Deliveries
from logui_tx.errors import NotStored
from logui_tx.journal import cursors
from logui_tx.journal.entry import Entry
from logui_tx.journal.schema import open_journal
from logui_tx.model import Position
from tests.deliveries import DirectSource
from tests.journals import NOW, made_journal


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


class LeftBehindTests(DeliveriesTestCase):
    def test_what_is_not_configured_any_more(self) -> None:
        """Whose place has changed is a new sink, which begins now: nobody else would say what it lacks."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        with made_journal(folder) as journal:
            journal.session("a").send(1, 2, 3)
            journal.commit()
        connection = open_journal(folder)
        self.addCleanup(connection.close)
        for name, position in [("old:", Position(1, 1)), ("done:", Position(2)), ("blackhole:", Position(1))]:
            cursors.add(connection, name, position)
        source = DirectSource(connection)
        self.patch(deliveries_module, "DeliverySource", lambda _reactor, _folder: source)
        warned = self.warnings()
        self.deliveries("blackhole:").start(Position(2), lambda: NOW)
        ((name, behind, remedy),) = warned
        self.assertEqual((name, behind), ("old:", 2))
        for what in ("configure its URI", "?name=", "logui sink forget"):
            self.assertIn(what, remedy)
        self.assertIsNone(cursors.configured(connection))
        work = self.entries[0].work
        assert work is not None
        work(connection)
        self.assertEqual(cursors.configured(connection), {"blackhole:"})

    def warnings(self) -> list[tuple[str, int, str]]:
        from twisted.logger import globalLogPublisher

        found: list[tuple[str, int, str]] = []

        def observe(event: dict[str, Any]) -> None:
            if event["log_level"] is LogLevel.warn and "behind" in event:
                found.append((event["sink"], event["behind"], event["remedy"]))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return found
