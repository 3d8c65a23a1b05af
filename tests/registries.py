"""Applications and flights in a database: what holds whatever database it is.

A subclass of each of these says which with :class:`RegistryMixin`'s ``open_engine``.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from sqlalchemy import Engine
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import (
    AmbiguousName,
    InvalidDomain,
    InvalidSetting,
    NameTaken,
    RegistryError,
    UnknownApplication,
    UnknownFlight,
)
from logui_tx.model import LISTENERS, Application, Flight
from logui_tx.registry.database import migrate
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner


class RegistryMixin(SynchronousTestCase):
    """``self.registry`` is empty; a second between any two things that it makes."""

    def open_engine(self) -> Engine:
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.engine = self.open_engine()
        self.addCleanup(self.engine.dispose)
        migrate(self.engine)
        self.signer = TokenSigner(SigningKeys(self.folder))
        ticks = itertools.count(1_700_000_000)
        self.registry = Registry(self.engine, self.signer, now=lambda: float(next(ticks)))


class ApplicationMixin(RegistryMixin):
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

    def test_those_of_one_moment_are_listed_by_name(self) -> None:
        registry = Registry(self.engine, self.signer, now=lambda: 1.0)
        for name in ("b", "a", "B"):
            registry.create_application(name)
            registry.create_flight("b", name, ["*"])
        for found in (registry.list_applications(), registry.list_flights()):
            self.assertEqual([each.name for each in found], ["B", "a", "b"])

    def test_names_are_compared_exactly(self) -> None:
        names = ["stra\u00dfe", "STRASSE", "strasse", "Strasse", "stra sse", "\u65e5\u672c", "\u00ef", "i"]
        made = [self.registry.create_application(name) for name in names]
        self.assertEqual([self.registry.find_application(name) for name in names], made)
        self.assertRaises(UnknownApplication, self.registry.find_application, "I")
        self.assertRaises(UnknownApplication, self.registry.find_application, "%")

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


class FlightMixin(RegistryMixin):
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

    def test_settings(self) -> None:
        plain = self.registry.create_flight("App", "F", ["*"])
        self.assertEqual((plain.listeners, plain.sample_moves, plain.metadata), (LISTENERS, 0, "{}"))
        self.assertIs(plain.strict_sessions, False)
        self.assertEqual(plain.application_name, "App")
        given: dict[str, Any] = {
            "listeners": ["scroll", "mouseclick"],
            "sample_moves": 50,
            "metadata": '{"a": 1}',
            "strict_sessions": True,
        }
        other = self.registry.create_flight("App", "G", ["*"], **given)
        self.assertEqual(other.listeners, ("mouseclick", "scroll"))
        self.assertEqual((other.sample_moves, other.metadata), (50, '{"a":1}'))
        self.assertIs(other.strict_sessions, True)
        self.assertEqual(self.registry.list_flights(), [plain, other])
        self.assertEqual(self.registry.get_flight(other.id), other)

    def test_changed(self) -> None:
        flight = self.registry.create_flight("App", "F", ["*"], metadata='{"a":1}')
        bystander = self.registry.create_flight("App", "G", ["*"])
        for change, expected in [
            ({"name": " H "}, {"name": "H"}),
            ({"domains": ["X.org", "x.org"]}, {"domains": ("x.org",)}),
            ({"listeners": []}, {"listeners": ()}),
            ({"listeners": ["custom"], "sample_moves": 7}, {"listeners": ("custom",), "sample_moves": 7}),
            ({"metadata": "{ }"}, {"metadata": "{}"}),
            ({"strict_sessions": True}, {"strict_sessions": True}),
            ({"strict_sessions": False}, {"strict_sessions": False}),
            ({}, {}),
        ]:
            flight = evolve(flight, **expected)  # all else stays
            self.assertEqual(self.registry.change_flight(flight.id, **change), flight)
            self.assertEqual(self.registry.get_flight(flight.id), flight)
        self.assertEqual(self.registry.get_flight(bystander.id), bystander)

    def test_a_change_that_is_refused_changes_nothing(self) -> None:
        flight = self.registry.create_flight("App", "F", ["*"])
        self.registry.create_flight("App", "G", ["*"])
        for error, change in [
            (NameTaken, {"name": "G"}),
            (RegistryError, {"name": ""}),
            (RegistryError, {"domains": []}),
            (InvalidDomain, {"domains": ["https://x.org"]}),
            (InvalidSetting, {"name": "H", "listeners": ["mouse"]}),
            (InvalidSetting, {"sample_moves": -1}),
            (InvalidSetting, {"metadata": "[]"}),
        ]:
            self.assertRaises(error, self.registry.change_flight, "F", **change)
        self.assertRaises(UnknownFlight, self.registry.change_flight, "nope", name="H")
        self.assertEqual(self.registry.get_flight(flight.id), flight)

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


class DemoMixin(RegistryMixin):
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


class BrokenDatabaseMixin(RegistryMixin):
    def test_one_line_without_the_statement(self) -> None:
        self.registry.check()
        with self.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE flight")
        error = self.assertRaises(RegistryError, self.registry.get_flight, "some-id")
        self.assertIn("flight", str(error))
        for statement in ("SELECT", "LINE"):
            self.assertNotIn(statement, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)
        self.assertNotIsInstance(error, UnknownFlight)
        self.assertEqual(len(str(error).splitlines()), 1)


class ConcurrencyMixin(RegistryMixin):
    """Several servers and commands at once."""

    def at_once(self, *calls: Callable[[], object]) -> list[object]:
        """What each returned or raised; a traceback of the database's own fails the test."""

        def outcome(call: Callable[[], object]) -> object:
            try:
                return call()
            except RegistryError as error:
                return type(error)

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(outcome, calls))

    def test_one_gets_the_name(self) -> None:
        for number in range(5):
            made = self.at_once(*[partial(self.registry.create_application, f"App {number}")] * 4)
            self.assertEqual(made.count(NameTaken), 3, made)
            made = self.at_once(*[partial(self.registry.create_flight, f"App {number}", "F", ["*"])] * 4)
            self.assertEqual(made.count(NameTaken), 3, made)

    def test_a_flight_is_made_while_its_application_is_deleted(self) -> None:
        for number in range(5):
            name = f"App {number}"
            self.registry.create_application(name)
            made, deleted = self.at_once(
                partial(self.registry.create_flight, name, "F", ["*"]),
                partial(self.registry.delete_application, name),
            )
            self.assertIsInstance(deleted, Application)
            self.assertTrue(made is UnknownApplication or isinstance(made, Flight), made)
            self.assertEqual(self.registry.list_flights(), [])

    def test_no_change_is_lost(self) -> None:
        self.registry.create_application("App")
        flight = self.registry.create_flight("App", "F", ["*"])
        self.at_once(
            partial(self.registry.change_flight, flight.id, name="G"),
            partial(self.registry.change_flight, flight.id, domains=["x.org"]),
            partial(self.registry.change_flight, flight.id, sample_moves=50),
            partial(self.registry.set_active, flight.id, False),
        )
        expected = evolve(flight, name="G", domains=("x.org",), sample_moves=50, active=False)
        self.assertEqual(self.registry.get_flight(flight.id), expected)

    def test_a_flight_is_changed_while_it_is_deleted(self) -> None:
        self.registry.create_application("App")
        for _ in range(5):
            flight = self.registry.create_flight("App", "F", ["*"])
            changed, deleted = self.at_once(
                partial(self.registry.change_flight, flight.id, sample_moves=1),
                partial(self.registry.delete_flight, flight.id),
            )
            self.assertTrue(changed is UnknownFlight or isinstance(changed, Flight), changed)
            self.assertIsInstance(deleted, Flight)
