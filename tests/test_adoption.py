"""Applications and flights that come from another server."""

from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import NameTaken
from logui_tx.model import Application, Flight
from logui_tx.registry import registry as registry_module
from logui_tx.registry.database import migrate, open_engine
from logui_tx.registry.names import MAX_NAME, checked_name, cleaned_name, free_name
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner

OLD = Application("a1", "Study", 1)
PILOT = Flight("f1", "a1", "Pilot", ("x.org",), False, "0.4.0", 2, application_name="Study")


class AdoptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        engine = open_engine(None, folder)
        self.addCleanup(engine.dispose)
        migrate(engine)
        self.registry = Registry(engine, TokenSigner(SigningKeys(folder)))

    def test_they_are_as_they_were(self) -> None:
        made = self.registry.adopt([OLD], [PILOT])
        self.assertEqual((made.applications, made.flights, made.renamed), ((OLD,), (PILOT,), ()))
        self.assertEqual(self.registry.list_applications(), [OLD])
        self.assertEqual(self.registry.list_flights(), [PILOT])

    def test_what_is_there_stays_as_it_is(self) -> None:
        self.registry.adopt([OLD], [PILOT])
        self.registry.change_flight("f1", name="Renamed", domains=["y.org"])
        before = self.registry.list_flights()
        more = evolve(PILOT, id="f2", name="More")
        made = self.registry.adopt([evolve(OLD, name="Other")], [PILOT, more])
        self.assertEqual((made.applications, made.flights), ((), (more,)))
        self.assertEqual(self.registry.list_applications(), [OLD])
        self.assertEqual(self.registry.list_flights(), [more, *before])

    def test_names_that_are_taken(self) -> None:
        mine = self.registry.create_application("Study")
        self.registry.create_flight(mine.id, "Pilot", ["*"])
        more = [evolve(OLD, id=f"a{n}", name=" Study\n") for n in (2, 3)]
        flights = [PILOT, evolve(PILOT, id="f2"), evolve(PILOT, id="f3", application_id="a2")]
        made = self.registry.adopt([OLD, *more], flights)
        names = ["Study (imported)", "Study (imported 2)", "Study (imported 3)"]
        self.assertEqual([each.name for each in made.applications], names)
        self.assertEqual([each.name for each in made.flights], ["Pilot", "Pilot (imported)", "Pilot"])
        self.assertEqual(
            made.renamed,
            (
                ("Study", names[0]),
                (" Study\n", names[1]),
                (" Study\n", names[2]),
                ("Pilot", "Pilot (imported)"),
            ),
        )

    def test_all_or_nothing(self) -> None:
        """Somebody else makes one of the same name between our look and our making."""
        self.registry.create_application("Study")

        def late(connection: object, *_: object) -> object:
            from sqlalchemy import insert

            from logui_tx.registry import schema

            for name in ("New", "Study"):
                row = {"id": name, "name": name, "created_at": 1}
                connection.execute(insert(schema.application).values(row))  # type: ignore[attr-defined]
            return None

        self.patch(registry_module, "adopt", late)
        self.assertRaises(NameTaken, self.registry.adopt, [OLD], [])
        self.assertEqual([each.name for each in self.registry.list_applications()], ["Study"])


class NameTests(SynchronousTestCase):
    def test_cleaned(self) -> None:
        for text, name in [
            ("Study", "Study"),
            ("  a\tb \n c", "a b c"),
            ("\u0000\u2028", "unnamed"),
            ("", "unnamed"),
            ("e\u0301", "\u00e9"),
            ("x" * 256, "x" * MAX_NAME),
            ("\ud83dx", "x"),
        ]:
            self.assertEqual(cleaned_name(text), name)
            self.assertEqual(checked_name(name), name)

    def test_free(self) -> None:
        self.assertEqual(free_name("a", set()), "a")
        self.assertEqual(free_name("a", {"a", "a (imported)"}), "a (imported 2)")
        long = free_name("x" * MAX_NAME, {"x" * MAX_NAME})
        self.assertEqual((len(long), long[-11:]), (MAX_NAME, " (imported)"))
