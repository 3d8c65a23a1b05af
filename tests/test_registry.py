"""Applications and flights in the database."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import (
    AmbiguousName,
    InvalidDomain,
    NameTaken,
    RegistryError,
    UnknownApplication,
    UnknownFlight,
)
from logui_tx.registry.database import migrate, open_engine
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner


class RegistryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.engine = open_engine(None, self.folder)
        self.addCleanup(self.engine.dispose)
        migrate(self.engine)
        self.signer = TokenSigner(SigningKeys(self.folder))
        ticks = itertools.count(1_700_000_000)
        self.registry = Registry(self.engine, self.signer, now=lambda: float(next(ticks)))


class ApplicationTests(RegistryTestCase):
    def test_created_is_found_and_listed(self) -> None:
        zoo = self.registry.create_application(" Zoo ")
        ark = self.registry.create_application("Ark")
        self.assertEqual((zoo.name, zoo.created_at), ("Zoo", 1_700_000_000_000))
        self.assertEqual(self.registry.list_applications(), [zoo, ark])
        self.assertEqual(self.registry.find_application("Zoo"), zoo)
        self.assertEqual(self.registry.find_application(ark.id), ark)

    def test_an_id_wins_over_a_name(self) -> None:
        first = self.registry.create_application("first")
        self.registry.create_application(first.id)
        self.assertEqual(self.registry.find_application(first.id), first)

    def test_names_are_unique(self) -> None:
        self.registry.create_application("B\u00fccher")
        error = self.assertRaises(NameTaken, self.registry.create_application, "Bu\u0308cher ")
        self.assertIn("already", str(error))

    def test_bad_names(self) -> None:
        bad = ["", "  ", "x" * 201, "a\nb", "a\x00b", "\x1b[31m", "a\u2028b", "a\ud800"]
        for name in bad:
            error = self.assertRaises(RegistryError, self.registry.create_application, name)
            self.assertIn("name", str(error))
            self.assertRaises(UnknownApplication, self.registry.find_application, name)
        self.registry.create_application("x" * 200)

    def test_unknown(self) -> None:
        self.assertRaises(UnknownApplication, self.registry.find_application, "nope")
        self.assertRaises(UnknownApplication, self.registry.delete_application, "nope")
        self.assertRaises(UnknownApplication, self.registry.list_flights, "nope")
        self.assertRaises(UnknownApplication, self.registry.create_flight, "nope", "f", ["*"])

    def test_deleting_takes_the_flights_along(self) -> None:
        gone, stays = (self.registry.create_application(name) for name in ("gone", "stays"))
        flight = self.registry.create_flight("gone", "f", ["*"])
        other = self.registry.create_flight("stays", "f", ["*"])
        self.assertEqual(self.registry.delete_application("gone"), gone)
        self.assertEqual(self.registry.list_applications(), [stays])
        self.assertEqual(self.registry.list_flights(), [other])
        self.assertRaises(UnknownFlight, self.registry.get_flight, flight.id)


class FlightTests(RegistryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.application = self.registry.create_application("App")

    def test_created_is_found_and_listed(self) -> None:
        flight = self.registry.create_flight("App", "F", ["Example.org", "*.example.org", "example.ORG"])
        self.assertEqual(flight.domains, ("example.org", "*.example.org"))
        self.assertEqual((flight.active, flight.client_version), (True, "0.4.0"))
        self.assertEqual(flight.application_id, self.application.id)
        for found in [
            self.registry.get_flight(flight.id),
            self.registry.find_flight("F"),
            self.registry.find_flight(flight.id),
            self.registry.find_flight("F", "App"),
            *self.registry.list_flights(),
            *self.registry.list_flights(self.application.id),
        ]:
            self.assertEqual(found, flight)

    def test_get_takes_ids_only(self) -> None:
        self.registry.create_flight("App", "F", ["*"])
        self.assertRaises(UnknownFlight, self.registry.get_flight, "F")

    def test_names_are_unique_within_the_application(self) -> None:
        self.registry.create_flight("App", "F", ["*"])
        self.assertRaises(NameTaken, self.registry.create_flight, "App", "F", ["*"])
        self.registry.create_application("Other")
        self.registry.create_flight("Other", "F", ["*"])

    def test_an_ambiguous_name(self) -> None:
        here = self.registry.create_flight("App", "F", ["*"])
        self.registry.create_application("Other")
        there = self.registry.create_flight("Other", "F", ["*"])
        for method in (self.registry.find_flight, self.registry.delete_flight):
            self.assertRaises(AmbiguousName, method, "F")
        self.assertRaises(AmbiguousName, self.registry.set_active, "F", False)
        self.assertEqual(self.registry.find_flight("F", "Other"), there)
        self.assertEqual(self.registry.find_flight(here.id), here)
        self.assertEqual(self.registry.list_flights("App"), [here])

    def test_an_id_wins_over_a_name(self) -> None:
        flight = self.registry.create_flight("App", "F", ["*"])
        self.registry.create_flight("App", flight.id, ["*"])
        self.assertEqual(self.registry.find_flight(flight.id), flight)

    def test_bad_input(self) -> None:
        self.assertRaises(InvalidDomain, self.registry.create_flight, "App", "F", ["*", "https://x.org"])
        self.assertRaises(RegistryError, self.registry.create_flight, "App", "F", [])
        self.assertRaises(RegistryError, self.registry.create_flight, "App", " ", ["*"])
        self.assertEqual(self.registry.list_flights(), [])

    def test_switched_off_and_on(self) -> None:
        flight = self.registry.create_flight("App", "F", ["*"])
        for active in (False, False, True):
            self.assertIs(self.registry.set_active("F", active).active, active)
            self.assertIs(self.registry.get_flight(flight.id).active, active)

    def test_the_domains_of_active_flights(self) -> None:
        self.assertEqual(self.registry.active_domains(), ())
        for name, domains in (
            ("One", ("a.example", "*.b.example")),
            ("Two", ("a.example",)),
            ("Off", ("c.example",)),
        ):
            self.registry.create_flight(self.application.id, name, domains)
        self.registry.set_active("Off", False)
        self.assertEqual(set(self.registry.active_domains()), {"a.example", "*.b.example"})

    def test_deleted(self) -> None:
        flight = self.registry.create_flight("App", "F", ["*"])
        self.assertEqual(self.registry.delete_flight("F"), flight)
        self.assertRaises(UnknownFlight, self.registry.delete_flight, "F")
        self.assertRaises(UnknownFlight, self.registry.find_flight, flight.id)

    def test_token(self) -> None:
        flight = self.registry.create_flight("App", "F", ["*"])
        self.assertEqual(self.signer.read(self.registry.token(flight)).flight_id, flight.id)


class DemoTests(RegistryTestCase):
    def test_made_once(self) -> None:
        flight = self.registry.ensure_demo()
        self.assertEqual((flight.name, flight.domains), ("Demo", ("localhost", "127.0.0.1")))
        self.assertEqual(self.registry.find_application("Demo").id, flight.application_id)
        self.assertEqual(self.registry.ensure_demo(), flight)

    def test_made_once_by_many_at_once(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            flights = set(pool.map(lambda _: self.registry.ensure_demo().id, range(16)))
        self.assertEqual(len(flights), 1)

    def test_another_is_quicker(self) -> None:
        """Between our look and our making, someone else makes it."""
        other = Registry(self.engine, self.signer)
        create = self.registry.create_application

        def overtaken(name: str) -> object:
            other.ensure_demo()
            return create(name)

        self.patch(self.registry, "create_application", overtaken)
        self.assertEqual(self.registry.ensure_demo(), other.ensure_demo())


class BrokenDatabaseTests(RegistryTestCase):
    def test_one_line_without_the_statement(self) -> None:
        self.registry.check()
        with self.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE flight")
        error = self.assertRaises(RegistryError, self.registry.get_flight, "some-id")
        self.assertIn("no such table", str(error))
        self.assertNotIn("SELECT", str(error))
        self.assertNotIsInstance(error, UnknownFlight)
        self.assertEqual(len(str(error).splitlines()), 1)
