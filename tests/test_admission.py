"""Who may log: a handshake is believed or refused with its cause."""

from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from logui_tx.errors import HandshakeRefused, Refusal, RegistryError, UnknownFlight
from logui_tx.interfaces import IRegistry
from logui_tx.model import Flight, Hello
from logui_tx.registry.admission import Admission
from logui_tx.registry.tokens import SigningKeys, TokenSigner

FLIGHT = Flight("flight-id", "app-id", "F", ("example.org",), True, "0.4.0", 0)
ORIGIN = "https://example.org"


@implementer(IRegistry)
class MemoryRegistry:
    def __init__(self, *flights: Flight) -> None:
        self.flights = {flight.id: flight for flight in flights}
        self.away: Exception | None = None

    def find_flight(self, flight_id: str) -> Deferred[Flight]:
        if self.away:
            return fail(self.away)
        if flight_id not in self.flights:
            return fail(UnknownFlight("unknown"))
        return succeed(self.flights[flight_id])

    def accepts(self, origin: str | None) -> Deferred[bool]:
        return succeed(True)

    def check(self) -> Deferred[None]:
        return succeed(None)


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.signer = TokenSigner(SigningKeys(folder))
        self.registry = MemoryRegistry(FLIGHT)
        self.admission = Admission(self.registry, self.signer)
        self.token = self.signer.issue(FLIGHT)

    def hello(self, token: str | None = None, domain: str | None = None) -> Hello:
        return Hello(token=self.token if token is None else token, client_time=0, app_data={}, domain=domain)

    def refusal(
        self, hello: Hello, cause: Refusal, origin: str | None = ORIGIN, version: str | None = "0.4.0"
    ) -> str:
        failure = self.failureResultOf(self.admission.admit(hello, origin, version), HandshakeRefused)
        self.assertIs(failure.value.cause, cause)
        text = str(failure.value)
        self.assertTrue(text.isprintable(), text)
        self.assertLess(len(text), 400)
        if len(hello.token) > 10:
            self.assertNotIn(hello.token[:10], text)
        return text

    def test_admitted(self) -> None:
        for origin, domain, version in [
            (ORIGIN, None, "0.4.0"),
            (ORIGIN, "example.org", None),
            (None, "example.org", "0.4.0"),
        ]:
            admitted = self.admission.admit(self.hello(domain=domain), origin, version)
            self.assertEqual(self.successResultOf(admitted), FLIGHT)

    def test_token(self) -> None:
        for token in ["", "nonsense nonsense", self.token[:-1], "\u00fc" * 20]:
            self.refusal(self.hello(token), Refusal.TOKEN)

    def test_unknown_flight(self) -> None:
        self.registry.flights.clear()
        self.assertIn("unknown", self.refusal(self.hello(), Refusal.TOKEN))

    def test_a_flight_of_another_application(self) -> None:
        self.refusal(self.hello(self.signer.issue(evolve(FLIGHT, application_id="other"))), Refusal.TOKEN)

    def test_version(self) -> None:
        text = self.refusal(self.hello(), Refusal.VERSION, version="0.5.0")
        self.assertIn("'0.4.0'", text)
        self.assertIn("'0.5.0'", text)

    def test_inactive(self) -> None:
        self.registry.flights["flight-id"] = evolve(FLIGHT, active=False)
        self.assertIn("not active", self.refusal(self.hello(), Refusal.INACTIVE))

    def test_a_session_that_must_be_there_is_asked_for_first(self) -> None:
        inactive = evolve(FLIGHT, active=False, strict_sessions=True)
        self.registry.flights["flight-id"] = inactive
        hello = evolve(self.hello(), session_id="unknown", refusable=True)
        self.assertEqual(self.successResultOf(self.admission.admit(hello, ORIGIN, None)), inactive)
        self.refusal(evolve(hello, refusable=False), Refusal.INACTIVE)
        self.refusal(hello, Refusal.DOMAIN, origin="http://evil.org")

    def test_domain(self) -> None:
        evil = "https://evil.org"
        for origin, domain, named in [
            (evil, None, evil),
            (evil, "example.org", evil),
            (ORIGIN, "evil.org", "'evil.org'"),
            (None, "evil.org", "'evil.org'"),
            ("null", None, "'null'"),
            (None, None, "Neither"),
        ]:
            self.assertIn(named, self.refusal(self.hello(domain=domain), Refusal.DOMAIN, origin=origin))

    def test_hostile_domains_are_shown_escaped_and_short(self) -> None:
        hostile = "\x1b[31m\r\n\u202e'" + "x" * 100_000
        self.refusal(self.hello(), Refusal.DOMAIN, origin=hostile)
        self.refusal(self.hello(domain=hostile), Refusal.DOMAIN)
        self.refusal(self.hello(domain=hostile), Refusal.DOMAIN, origin=None)

    def test_the_first_cause_counts(self) -> None:
        self.refusal(self.hello("bad"), Refusal.TOKEN, origin="http://evil.org", version="9")
        inactive = evolve(FLIGHT, active=False)
        self.registry.flights["flight-id"] = inactive
        bad_session = evolve(self.hello(), bad_session="No session is called so.")
        self.refusal(bad_session, Refusal.DOMAIN, origin="http://evil.org")
        self.assertIn("called so", self.refusal(bad_session, Refusal.SESSION))
        self.refusal(self.hello(), Refusal.INACTIVE)
        self.refusal(self.hello(), Refusal.VERSION, origin="http://evil.org", version="9")
        self.registry.flights.clear()
        self.refusal(self.hello(), Refusal.VERSION, version="9")
        self.refusal(self.hello(), Refusal.TOKEN, origin="http://evil.org")

    def test_a_database_that_is_away_is_not_a_refusal(self) -> None:
        self.registry.away = RegistryError("away")
        failure = self.failureResultOf(self.admission.admit(self.hello(), ORIGIN, None))
        self.assertIs(failure.value, self.registry.away)

    def test_once_more(self) -> None:
        def readmit(flight_id: str = FLIGHT.id, origin: str | None = ORIGIN) -> "Deferred[Flight]":
            return Deferred.fromCoroutine(self.admission.readmit(flight_id, origin))

        self.assertEqual(self.successResultOf(readmit()), FLIGHT)
        for asked, cause in (
            (readmit("other"), Refusal.TOKEN),
            (readmit(origin="https://example.net"), Refusal.DOMAIN),
            (readmit(origin=None), Refusal.DOMAIN),
        ):
            self.assertIs(self.failureResultOf(asked, HandshakeRefused).value.cause, cause)
        self.registry.flights[FLIGHT.id] = evolve(FLIGHT, active=False)
        self.assertIs(self.failureResultOf(readmit(), HandshakeRefused).value.cause, Refusal.INACTIVE)
